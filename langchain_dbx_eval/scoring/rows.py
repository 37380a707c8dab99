"""Scores one row: all scorers side by side, and what follows from them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from typing_extensions import TypeIs

from langchain_dbx_eval import event_loop
from langchain_dbx_eval.scoring.assessments import Assessment, RowScores, Skip
from langchain_dbx_eval.scoring.context import AnyScorer, AsyncScorer, Scorer, ScoringContext
from langchain_dbx_eval.scoring.verdict import overall_assessment

__all__ = ["ascore", "score"]

_Said: TypeAlias = Sequence[Assessment | Skip]


async def ascore(context: ScoringContext, scorers: Iterable[AnyScorer]) -> RowScores:
    """Let each scorer assess a row; one that raises becomes an error of its own, and no score.

    Scorers that wait (judges) run side by side; those that compute run in one thread meanwhile. A
    row without an answer is not scored: its failure is told as such, not as a bad answer.

    Args:
        context: The row.
        scorers: Who scores it.

    Returns:
        What they say, in their order, and last the overall assessment where a judge gave a verdict.
    """
    if context.outcome.error is not None:
        return RowScores()
    scorers = list(scorers)
    # Computing does not wait for anybody: one thread for all of a row is enough.
    computing = asyncio.to_thread(_compute_all, scorers, context)
    awaiting = [_awaited(scorer, context) for scorer in scorers if _waits(scorer)]
    computed, answers = await asyncio.gather(computing, asyncio.gather(*awaiting))
    waited = iter(answers)
    in_order = [item for said in computed for item in (next(waited) if said is None else said)]
    assessments = [item for item in in_order if isinstance(item, Assessment)]
    verdict = overall_assessment(assessments)
    skipped = tuple(item for item in in_order if isinstance(item, Skip))
    return RowScores((*assessments, *([verdict] if verdict else [])), skipped)


def score(context: ScoringContext, scorers: Iterable[AnyScorer]) -> RowScores:
    """`ascore` for callers that wait: it runs on the package's own event loop."""
    return event_loop.run(ascore(context, scorers))


def _compute_all(scorers: list[AnyScorer], context: ScoringContext) -> list[_Said | None]:
    """What each scorer says; None in the place of one that waits."""
    return [None if _waits(s) else _computed(s, context) for s in scorers]


def _waits(scorer: AnyScorer) -> TypeIs[AsyncScorer]:
    return hasattr(scorer, "ascore")


async def _awaited(scorer: AsyncScorer, context: ScoringContext) -> _Said:
    try:
        return await scorer.ascore(context)
    except Exception as error:
        return [_failure(scorer, error)]


def _computed(scorer: Scorer, context: ScoringContext) -> _Said:
    try:
        return scorer.score(context)
    except Exception as error:
        return [_failure(scorer, error)]


def _failure(scorer: AnyScorer, error: Exception) -> Assessment:
    reason = f"{type(error).__name__}: {error}"
    leaf = getattr(scorer, "leaf", "")
    return Assessment(name=scorer.name, column=scorer.column, leaf=leaf, error=reason)
