"""The calls of one evaluation by callback: joined to their records, scored in the background."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, wait

from langchain_dbx_eval._internal import event_loop
from langchain_dbx_eval.datasets import EvalDataset, EvalRecord
from langchain_dbx_eval.evaluation.capture.recorder import CapturedRun
from langchain_dbx_eval.evaluation.journal.manifest import EvaluationManifest
from langchain_dbx_eval.evaluation.journal.rows import Answer, RowKey
from langchain_dbx_eval.evaluation.journal.store import Journal
from langchain_dbx_eval.evaluation.online.matching import RecordIndex
from langchain_dbx_eval.evaluation.result import EvaluationResult
from langchain_dbx_eval.evaluation.run.pipeline import Pipeline
from langchain_dbx_eval.evaluation.tracking.destination import Destination
from langchain_dbx_eval.evaluation.tracking.writer import MlflowWriter
from langchain_dbx_eval.scoring import Scorer

__all__ = ["EvaluationSession"]


class EvaluationSession:
    """Collects captured runs, scores them in the background, and makes the result of them.

    Args:
        dataset: The dataset; None scores without ground truth.
        index: Its records, to which calls are joined.
        scorers: What to score with.
    """

    def __init__(
        self, dataset: EvalDataset | None, index: RecordIndex, scorers: Sequence[Scorer]
    ) -> None:
        self._dataset = dataset
        self._index = index
        self._scorers = scorers
        self._times_asked: Counter[int] = Counter()
        self._calls = 0
        self._numbering = threading.Lock()
        self._scoring: set[Future[None]] = set()
        self._failures: list[BaseException] = []
        self._journal: Journal | None = None
        self._opening = threading.Lock()

    def __len__(self) -> int:
        return self._calls

    def add(self, run: CapturedRun) -> Future[None]:
        """Take a complete run; it is scored in the background.

        Returns:
            Done when the row is scored and saved.
        """
        number = self._index.find(run)
        records = self._index.records
        record = EvalRecord(request=run.request) if number is None else records[number]
        with self._numbering:
            # Without a record, behind all records of the dataset, so that these keep their places.
            at = len(records) + self._calls if number is None else number
            self._calls += 1
            self._times_asked[at] += 1
            place = RowKey(at, self._times_asked[at])
        matched = number is not None
        answer = Answer(record=record, outcome=run.outcome(), run=run, matched=matched)
        scored = event_loop.start(self._take(place, answer))
        self._scoring.add(scored)
        scored.add_done_callback(self._done)
        return scored

    def finish(self, *, run_name: str | None, experiment_name: str | None) -> EvaluationResult:
        """Wait for all scores, write the evaluation to MLflow, and make its result.

        Args:
            run_name: The name of the MLflow run.
            experiment_name: The MLflow experiment; None for MLflow's current one.

        Raises:
            JournalError: A row could not be saved.
        """
        waited_for = set(self._scoring)
        wait(waited_for)
        # Those waited for are asked themselves: a future is done before its callbacks are called.
        last = (scored.exception() for scored in waited_for)
        if failure := next(filter(None, (*self._failures, *last)), None):
            raise failure
        journal = self._opened()
        journal.note(complete=True)
        destination = Destination.current(run_name=run_name, experiment_name=experiment_name)
        return MlflowWriter(journal, destination, self._dataset).finish()

    async def _take(self, place: RowKey, answer: Answer) -> None:
        # To begin a journal is to read the dataset for its digest, which may take its time.
        journal = self._journal
        if journal is None:
            journal = await asyncio.to_thread(self._opened)
        await Pipeline(journal, self._scorers).take(place, answer)

    def _opened(self) -> Journal:
        with self._opening:
            journal = self._journal
            if journal is None:
                subject = EvaluationManifest(self._dataset, self._scorers, of_calls=True)
                journal = self._journal = Journal.create(subject.facts())
            return journal

    def _done(self, scored: Future[None]) -> None:
        if (error := scored.exception()) is not None:
            self._failures.append(error)
        self._scoring.discard(scored)
