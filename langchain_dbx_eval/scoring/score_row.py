"""Scoring of one row by all scorers."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from langchain_dbx_eval._internal import event_loop
from langchain_dbx_eval._internal.deadline import DeadlineError, run_task
from langchain_dbx_eval._internal.log import describe_error
from langchain_dbx_eval.scoring.assessments import Assessment, RowScores, ScorerOutput, Skip
from langchain_dbx_eval.scoring.context import Scorer, ScoringContext
from langchain_dbx_eval.scoring.contract import RESPONSE_JUDGE_FAMILY, RETRIEVAL_JUDGE_FAMILY
from langchain_dbx_eval.scoring.judges.protocol import judge_timeout
from langchain_dbx_eval.scoring.overall_assessment import overall_assessment
from langchain_dbx_eval.scoring.results import check_output

__all__ = ["ScorerOutput", "ascore", "failure", "late", "row_scores", "score"]


async def ascore(
    context: ScoringContext,
    scorers: Iterable[Scorer],
    *,
    known: Mapping[str, ScorerOutput] | None = None,
    keep: Callable[[Mapping[str, ScorerOutput]], None] | None = None,
    timeout: float | None = None,
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
        timeout: Seconds for each scorer, after which its result is an error, and for each request
            to a judge model; None: no limit. The thread of a scorer cannot be stopped: it is left.

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
        if blocking:
            add(await _blocking_outputs(blocking, context, timeout))

    async def run(scorer: Scorer) -> None:
        limit = None if getattr(scorer, "limits_time", False) else timeout
        add({scorer.column: await _async_output(scorer, context, limit)})

    judge_timeout.set(timeout)
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


class _BlockingRun:
    """Scorers of a row that run one after the other in a thread: they only compute.

    Attributes:
        current: The scorer that is running.
        started: When it started, by `time.monotonic`.
        outputs: The outputs of those that have finished.
    """

    def __init__(self, scorers: Sequence[Scorer], context: ScoringContext) -> None:
        self._waiting = deque(scorers)
        self._context = context
        self.current, self.started = scorers[0], time.monotonic()
        self.outputs: dict[str, Any] = {}

    def run(self) -> None:
        while self._waiting:
            self.started = time.monotonic()
            self.current = self._waiting.popleft()
            self.outputs[self.current.column] = _output(self.current, self._context)

    def leave(self) -> Scorer:
        """Start no further scorer, and return the one that is running."""
        self._waiting.clear()
        return self.current


async def _blocking_outputs(
    scorers: Sequence[Scorer], context: ScoringContext, timeout: float | None
) -> dict[str, Any]:
    """Run scorers in a thread; after one that takes too long, the others in a further thread."""
    outputs: dict[str, Any] = {}
    while pending := [scorer for scorer in scorers if scorer.column not in outputs]:
        run = _BlockingRun(pending, context)
        thread = asyncio.ensure_future(asyncio.to_thread(run.run))
        while not thread.done():
            remaining = None if timeout is None else run.started + timeout - time.monotonic()
            if remaining is not None and remaining <= 0:
                hanging = run.leave()
                outputs[hanging.column] = [late(hanging, timeout)]
                break
            await asyncio.wait({thread}, timeout=remaining)
        outputs = {**run.outputs, **outputs}
    return outputs


def _output(scorer: Scorer, context: ScoringContext) -> Any:
    try:
        return check_output(scorer.score(context))  # type: ignore[arg-type]
    except BaseException as error:  # in a thread, where Ctrl-C is not raised
        return [failure(scorer, error)]


async def _async_output(scorer: Scorer, context: ScoringContext, timeout: float | None) -> Any:
    # In a task of its own: a scorer that raises CancelledError is not a row that is canceled.
    try:
        return await run_task(_await_output(scorer, context), timeout)
    except DeadlineError:
        return [late(scorer, timeout)]
    except RuntimeError:
        return [failure(scorer, RuntimeError("the scorer canceled its own task"))]


def late(scorer: Scorer, timeout: float | None) -> Assessment:
    """Return the assessment for a scorer that did not finish in time."""
    text = f"the scorer {scorer.name!r} has no result after {timeout:g} s (scorer_timeout=)"
    return failure(scorer, TimeoutError(text))


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
