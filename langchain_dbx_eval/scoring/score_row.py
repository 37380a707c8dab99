"""Scores one row: all scorers side by side, and what follows from them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from typing_extensions import TypeIs

from langchain_dbx_eval._internal import event_loop
from langchain_dbx_eval.scoring.assessments import Assessment, RowScores, Skip
from langchain_dbx_eval.scoring.context import AnyScorer, AsyncScorer, Scorer, ScoringContext
from langchain_dbx_eval.scoring.verdict import overall_assessment

__all__ = ["ScorerOutput", "ascore", "row_scores", "score"]

ScorerOutput: TypeAlias = Sequence[Assessment | Skip]
"""What one scorer says of one row."""


async def ascore(
    context: ScoringContext,
    scorers: Iterable[AnyScorer],
    *,
    known: Mapping[str, ScorerOutput] | None = None,
    keep: Callable[[Mapping[str, ScorerOutput]], None] | None = None,
) -> RowScores:
    """Let each scorer assess a row; one that raises becomes an error of its own, and no score.

    Scorers that wait (judges) run side by side; those that compute run in one thread meanwhile. A
    row without an answer is not scored: its failure is told as such, not as a bad answer.

    Args:
        context: The row.
        scorers: Who scores it.
        known: What some of them have said of it already, by their columns: they are not asked.
        keep: Told what has just been said, by the scorers' columns: each answer of one that waits
            as it comes, those that compute all together.

    Returns:
        What they say, in their order, and last the overall assessment where a judge gave a verdict.
    """
    if context.outcome.error is not None:
        return RowScores()
    scorers = list(scorers)
    said = dict(known or {})
    open_ones = [scorer for scorer in scorers if scorer.column not in said]

    def take(new: Mapping[str, ScorerOutput]) -> None:
        said.update(new)
        if keep is not None and new:
            keep(new)

    async def compute() -> None:
        # Computing does not wait for anybody: one thread for all of a row is enough.
        if computing := [scorer for scorer in open_ones if not _waits(scorer)]:
            take(await asyncio.to_thread(_compute_all, computing, context))

    async def wait_for(scorer: AsyncScorer) -> None:
        take({scorer.column: await _awaited(scorer, context)})

    await asyncio.gather(compute(), *(wait_for(scorer) for scorer in open_ones if _waits(scorer)))
    return row_scores([said[scorer.column] for scorer in scorers])


def row_scores(said: Iterable[ScorerOutput]) -> RowScores:
    """Draw together what the scorers say of a row, in their order.

    Returns:
        All of it, and last the overall assessment where a judge gave a verdict.
    """
    items = [item for said_by_one in said for item in said_by_one]
    assessments = [item for item in items if isinstance(item, Assessment)]
    verdict = overall_assessment(assessments)
    skipped = tuple(item for item in items if isinstance(item, Skip))
    return RowScores((*assessments, *([verdict] if verdict else [])), skipped)


def score(context: ScoringContext, scorers: Iterable[AnyScorer]) -> RowScores:
    """`ascore` for callers that wait: it runs on the package's own event loop."""
    return event_loop.run(ascore(context, scorers))


def _compute_all(scorers: list[Scorer], context: ScoringContext) -> dict[str, ScorerOutput]:
    return {scorer.column: _computed(scorer, context) for scorer in scorers}


def _waits(scorer: AnyScorer) -> TypeIs[AsyncScorer]:
    return hasattr(scorer, "ascore")


async def _awaited(scorer: AsyncScorer, context: ScoringContext) -> ScorerOutput:
    try:
        return await scorer.ascore(context)
    except Exception as error:
        return [_failure(scorer, error)]


def _computed(scorer: Scorer, context: ScoringContext) -> ScorerOutput:
    try:
        return scorer.score(context)
    except Exception as error:
        return [_failure(scorer, error)]


def _failure(scorer: AnyScorer, error: Exception) -> Assessment:
    reason = f"{type(error).__name__}: {error}"
    leaf = getattr(scorer, "leaf", "")
    return Assessment(name=scorer.name, column=scorer.column, leaf=leaf, error=reason)
