"""Takes every row of a dataset from question to score, many at once, none of them twice."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeAlias

from langchain_dbx_eval._internal.limiter import AdaptiveLimiter
from langchain_dbx_eval.datasets import EvalDataset, EvalRecord
from langchain_dbx_eval.evaluation.journal.rows import Answer, RowKey
from langchain_dbx_eval.evaluation.journal.store import Journal
from langchain_dbx_eval.evaluation.run.pipeline import Pipeline
from langchain_dbx_eval.evaluation.run.progress import Progress

__all__ = ["RowScheduler"]

Answering: TypeAlias = Callable[[RowKey, EvalRecord], Awaitable[Answer]]
"""Gives a row's answer."""

_RECORDS_AT_ONCE = 100


class RowScheduler:
    """Runs what is not done yet, as many rows at once as the pace allows.

    It belongs to one event loop, and is used once.

    Args:
        journal: What is done already.
        pipeline: Takes the answers.
        pace: Gives the slots.
        most_scoring: How many rows are being scored at once: a row whose answer waits for that
            keeps its slot, so that answers do not pile up before slow judges.
    """

    def __init__(
        self, journal: Journal, pipeline: Pipeline, limiter: AdaptiveLimiter, *, most_scoring: int
    ) -> None:
        self._journal = journal
        self._pipeline = pipeline
        self._limiter = limiter
        self._scoring = asyncio.Semaphore(most_scoring)
        self._rows: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._stopping = False

    def stop(self) -> None:
        """Begin no further row."""
        self._stopping = True

    async def run(
        self,
        dataset: EvalDataset,
        repeat: int,
        answer: Answering,
        tell: Progress,
    ) -> None:
        """Take all rows through, or those that were begun before `stop`.

        Args:
            dataset: The records.
            repeat: How often each is asked.
            answer: Gives a row's answer.
            tell: Told of each row that is done.

        Raises:
            JournalError: A row could not be saved.
        """
        answered = self._journal.answered()
        steps = _Steps(self._pipeline, self._limiter, self._scoring, answer, tell)
        try:
            async for place, record in _places(dataset, repeat):
                key, scored = answered.get(place, (None, False))
                if not scored:
                    await self._limiter.acquire()
                    if self._stopping:
                        self._limiter.release()
                        break
                    self._begin(steps.score(place) if key else steps.ask(place, record))
            await asyncio.gather(*self._rows, return_exceptions=True)
        finally:
            for row in self._rows:
                row.cancel()
        if self._failure is not None:
            raise self._failure

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        row = asyncio.create_task(work)
        self._rows.add(row)
        row.add_done_callback(self._ended)

    def _ended(self, row: asyncio.Task[None]) -> None:
        self._rows.discard(row)
        if not row.cancelled() and (error := row.exception()) is not None:
            self._failure = self._failure or error
            self.stop()


@dataclass(frozen=True)
class _Steps:
    """What is done for one row; it has a slot when it begins, and gives it back."""

    pipeline: Pipeline
    limiter: AdaptiveLimiter
    scoring: asyncio.Semaphore
    answer: Answering
    tell: Progress

    async def ask(self, place: RowKey, record: EvalRecord) -> None:
        try:
            answer = await self.answer(place, record)
            await self.scoring.acquire()
        finally:
            self.limiter.release()
        try:
            await self.pipeline.take(place, answer)
        finally:
            self.scoring.release()
        outcome = answer.outcome
        self.tell(failed=outcome.error is not None, tokens=outcome.total_tokens)

    async def score(self, place: RowKey) -> None:
        try:
            await self.pipeline.complete(place)
        finally:
            self.limiter.release()
        self.tell(failed=False, tokens=None)


async def _places(dataset: EvalDataset, repeat: int) -> AsyncIterator[tuple[RowKey, EvalRecord]]:
    """The rows in order; the records are read in a thread, for a store may take its time."""
    records = enumerate(dataset)

    def some() -> list[tuple[int, EvalRecord]]:
        return list(itertools.islice(records, _RECORDS_AT_ONCE))

    while page := await asyncio.to_thread(some):
        for number, record in page:
            for repetition in range(1, repeat + 1):
                yield RowKey(number, repetition), record
