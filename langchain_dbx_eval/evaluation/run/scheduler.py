"""Runs the rows of an evaluation concurrently, each of them once."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Literal, TypeAlias

from langchain_dbx_eval._internal.deadline import Deadline
from langchain_dbx_eval._internal.limiter import AdaptiveLimiter
from langchain_dbx_eval._internal.log import describe_error, get_logger
from langchain_dbx_eval.datasets import EvalRecord
from langchain_dbx_eval.evaluation.journal.rows import Answer, ExpectedRow, RowKey
from langchain_dbx_eval.evaluation.journal.store import Journal
from langchain_dbx_eval.evaluation.run.pipeline import process_row
from langchain_dbx_eval.evaluation.run.preflight import model_failure
from langchain_dbx_eval.evaluation.run.progress import OnRow
from langchain_dbx_eval.scoring import Outcome, Scorer

__all__ = ["FirstRow", "Invoke", "RowScheduler"]

_logger = get_logger(__name__)

Invoke: TypeAlias = Callable[[EvalRecord], Awaitable[Answer]]
"""Returns the answer to the request of a record."""

FirstRow: TypeAlias = Literal["alone", "checked", "as others"]
"""An error of the first row that all others would have ends the evaluation (``"alone"``,
``"checked"``); the others start when it is finished, or after a second (``"alone"``)."""

_PAGE = 100
# A first row that takes longer does not delay the others.
_ALONE_S = 1.0
_POLL_S = 0.05


class RowScheduler:
    """Runs the rows that are not finished, as many at once as the limiter allows.

    An instance belongs to one event loop and is used once.

    Args:
        journal: Contains the finished rows, and receives the others.
        invoke: Returns the answer to the request of a record.
        scorers: The scorers.
        limiter: Limits the rows that are being answered. Its initial limit also limits the rows
            that are being scored: a row that waits for this keeps its slot of the limiter, so that
            answers do not pile up before slow judges.
        is_exhausted: Whether no further row may be started; called before each row.
        scorer_timeout: Seconds for each scorer of a row; None: no limit.
        first_row: Whether what would fail on all rows is found at the first one.

    Attributes:
        limiter: The limiter.
        exception: The first exception of the model; None if it raised none.
    """

    def __init__(
        self,
        journal: Journal,
        invoke: Invoke,
        scorers: Sequence[Scorer],
        limiter: AdaptiveLimiter,
        is_exhausted: Callable[[], bool] = lambda: False,
        *,
        scorer_timeout: float | None = None,
        first_row: FirstRow = "alone",
    ) -> None:
        self._journal = journal
        self._invoke = invoke
        self._scorers = scorers
        self.limiter = limiter
        self._is_exhausted = is_exhausted
        self._scorer_timeout = scorer_timeout
        self._first_row = first_row
        self._scoring = asyncio.Semaphore(limiter.limit)
        self._tasks: set[asyncio.Task[None]] = set()
        self._error: BaseException | None = None
        self._stopping = False
        self.exception: BaseException | None = None

    def stop(self) -> None:
        """Start no further row; those in flight are finished."""
        self._stopping = True

    async def run(self, rows: Iterable[ExpectedRow], on_row: OnRow) -> None:
        """Run all rows, or those that were started before `stop` or `is_exhausted`.

        Args:
            rows: The rows.
            on_row: Called with each finished row.

        Raises:
            JournalError: A row could not be saved.
            DatabricksError: The first row failed as all others would.
        """
        answered = self._journal.answered()
        is_first = self._first_row != "as others" and not any(
            is_scored for _, is_scored in answered.values()
        )
        try:
            async for expected in _in_pages(rows):
                key = expected.key
                input_key, is_scored = answered.get(key, (None, False))
                if not is_scored:
                    await self.limiter.acquire()
                    if self._stopping or self._is_exhausted():
                        self.limiter.release()
                        break
                    new = expected if input_key is None else None
                    row = self._run_row(key, new, on_row, is_first=is_first)
                    task = asyncio.create_task(row)
                    self._tasks.add(task)
                    task.add_done_callback(self._on_done)
                    if is_first and expected.error is None:
                        is_first = False
                        if self._first_row == "alone":
                            await self._leave_alone(task)
            await asyncio.gather(*self._tasks, return_exceptions=True)
        finally:
            for task in self._tasks:
                task.cancel()
        if self._error is not None:
            raise self._error

    async def _leave_alone(self, task: asyncio.Task[None]) -> None:
        """Wait for the first row, but not if it takes long, or only has to be repeated."""
        deadline = Deadline(_ALONE_S)
        while not (task.done() or deadline.passed or self.limiter.is_rejecting):
            await asyncio.wait({task}, timeout=min(_POLL_S, deadline.remaining))

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._error = self._error or error
            self.stop()

    async def _run_row(
        self, key: RowKey, row: ExpectedRow | None, on_row: OnRow, *, is_first: bool
    ) -> None:
        """Run a row; None: the journal contains its answer."""
        answer = None
        try:
            if row is not None and row.error is not None:
                answer = Answer(record=row.record, outcome=Outcome(error=row.error))
            elif row is not None:
                answer = await self._answer(row.record)
                if is_first and (fatal := model_failure(answer.exception)) is not None:
                    raise fatal
                self.exception = self.exception or answer.exception
            await self._scoring.acquire()
        finally:
            self.limiter.release()
        try:
            has_errors = await process_row(
                self._journal,
                self._scorers,
                key,
                answer,
                self._scorer_timeout,
                is_first=is_first,
            )
        finally:
            self._scoring.release()
        on_row(answer is not None and answer.outcome.error is not None, has_errors)

    async def _answer(self, record: EvalRecord) -> Answer:
        try:
            return await self._invoke(record)
        except Exception as error:
            # Of a response whose own code fails, for example. It is not the end of the evaluation.
            _logger.exception("The answer to %r could not be read.", record.request_id)
            return Answer(record=record, outcome=Outcome(error=describe_error(error)))


async def _in_pages(rows: Iterable[ExpectedRow]) -> AsyncIterator[ExpectedRow]:
    """Yield the rows in order; the records are read in a thread, since a store may be slow."""
    remaining = iter(rows)
    while page := await asyncio.to_thread(lambda: list(itertools.islice(remaining, _PAGE))):
        for row in page:
            yield row
