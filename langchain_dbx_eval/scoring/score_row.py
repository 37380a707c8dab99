"""Scoring of one row by all scorers."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from langchain_dbx_eval._internal import event_loop
from langchain_dbx_eval._internal.log import describe_error
from langchain_dbx_eval.scoring.assessments import Assessment, RowScores, ScorerOutput, Skip
from langchain_dbx_eval.scoring.context import Scorer, ScoringContext
from langchain_dbx_eval.scoring.contract import RESPONSE_JUDGE_FAMILY, RETRIEVAL_JUDGE_FAMILY
from langchain_dbx_eval.scoring.overall_assessment import overall_assessment
from langchain_dbx_eval.scoring.results import check_output

__all__ = ["ScorerOutput", "ascore", "failure", "row_scores", "score"]


async def ascore(
    context: ScoringContext,
    scorers: Iterable[Scorer],
    *,
    known: Mapping[str, ScorerOutput] | None = None,
    keep: Callable[[Mapping[str, ScorerOutput]], None] | None = None,
) -> RowScores:
    """Score a row; a scorer that raises yields an assessment with an error and no value.

    So does a scorer that returns NaN, a number beyond the range of `float`, or no assessment, and
    one that exits or cancels itself.

    Asynchronous scorers run concurrently; the others run in one thread meanwhile. A row without a
    response is not scored: it is reported as failed, not as badly answered.

    Args:
        context: The row.
        scorers: The scorers.
        known: Outputs by scorer column that exist already: these scorers do not run.
        keep: Called with new outputs by scorer column: for each asynchronous scorer when it
            finishes, for all others together.

    Returns:
        The scores in the order of the scorers, then the overall assessment if a judge applies.
    """
    if context.outcome.error is not None:
        return RowScores()
    scorers = list(scorers)
    outputs = dict(known or {})
    pending = [scorer for scorer in scorers if scorer.column not in outputs]
    blocking = [scorer for scorer in pending if not _is_async(scorer)]

    def add(new: Mapping[str, ScorerOutput]) -> None:
        outputs.update(new)
        if keep is not None and new:
            keep(new)

    async def run_blocking() -> None:
        # They only compute: one thread for all of a row is enough.
        if blocking:
            add(await asyncio.to_thread(lambda: {s.column: _output(s, context) for s in blocking}))

    async def run(scorer: Scorer) -> None:
        add({scorer.column: await _async_output(scorer, context)})

    await asyncio.gather(run_blocking(), *(run(scorer) for scorer in pending if _is_async(scorer)))
    return row_scores([outputs[scorer.column] for scorer in scorers])


def score(context: ScoringContext, scorers: Iterable[Scorer]) -> RowScores:
    """Score a row as `ascore` does, and wait for the result."""
    return event_loop.run(ascore(context, scorers))


def row_scores(outputs: Iterable[ScorerOutput], *, is_complete: bool = True) -> RowScores:
    """Combine the outputs of the scorers, in their order, and add the overall assessment.

    Args:
        outputs: The outputs.
        is_complete: See `RowScores.is_complete`.
    """
    items = [item for output in outputs for item in output]
    assessments = [item for item in items if isinstance(item, Assessment)]
    skipped = tuple(item for item in items if isinstance(item, Skip))
    if not is_complete:
        return RowScores(tuple(assessments), skipped, is_complete)
    overall = overall_assessment(assessments, skipped)
    return RowScores((*assessments, *([overall] if overall else [])), skipped)


def _is_async(scorer: Scorer) -> bool:
    return inspect.iscoroutinefunction(scorer.score)


def _output(scorer: Scorer, context: ScoringContext) -> Any:
    try:
        return check_output(scorer.score(context))  # type: ignore[arg-type]
    except BaseException as error:  # in a thread, where Ctrl-C is not raised
        return [failure(scorer, error)]


async def _async_output(scorer: Scorer, context: ScoringContext) -> Any:
    # In a task of its own: a scorer that raises CancelledError is not a row that is canceled.
    task = asyncio.ensure_future(_await_output(scorer, context))
    try:
        await asyncio.wait({task})
    finally:
        task.cancel()
    if task.cancelled():
        return [failure(scorer, RuntimeError("the scorer canceled its own task"))]
    return task.result()


async def _await_output(scorer: Scorer, context: ScoringContext) -> Any:
    try:
        return check_output(await scorer.score(context))  # type: ignore[misc]
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        # `sys.exit()` in a scorer, if it were raised, would end the event loop. Ctrl-C is raised in
        # the main thread, which runs this only in a loop of the user.
        if isinstance(error, KeyboardInterrupt) and _is_main_thread():
            raise
        return [failure(scorer, error)]


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def failure(scorer: Scorer, error: BaseException) -> Assessment:
    """Return the assessment for a scorer that raised."""
    families = (RESPONSE_JUDGE_FAMILY, RETRIEVAL_JUDGE_FAMILY)
    is_judge = scorer.column.startswith(families) or getattr(scorer, "is_judge", False)
    return Assessment(
        name=scorer.name,
        column=scorer.column,
        leaf=getattr(scorer, "leaf", ""),
        error=describe_error(error),
        source="LLM_JUDGE" if is_judge else "CODE",
    )
