"""The calls of one evaluation by callback: joined to their records, scored in the background."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, wait
from functools import cached_property

from langchain_dbx_eval import event_loop
from langchain_dbx_eval.datasets import EvalDataset, EvalRecord
from langchain_dbx_eval.evaluation.capture import CapturedRun
from langchain_dbx_eval.evaluation.destination import Destination
from langchain_dbx_eval.evaluation.joining import Join, RecordIndex
from langchain_dbx_eval.evaluation.journal import Journal
from langchain_dbx_eval.evaluation.pipeline import Pipeline
from langchain_dbx_eval.evaluation.results import EvaluationResult
from langchain_dbx_eval.evaluation.rows import Answer, Place
from langchain_dbx_eval.evaluation.subject import Subject
from langchain_dbx_eval.evaluation.writer import MlflowWriter
from langchain_dbx_eval.scoring import AnyScorer

__all__ = ["EvaluationSession"]


class EvaluationSession:
    """Collects captured runs, scores them in the background, and makes the result of them.

    Args:
        dataset: The records that runs are joined to; None scores without ground truth.
        scorers: What to score with.
        run_name: The name of the MLflow run.
        experiment: The MLflow experiment; default: MLflow's current one.
        join: A user's own rule of which call belongs to which record.
    """

    def __init__(
        self,
        dataset: EvalDataset | None,
        scorers: Sequence[AnyScorer],
        *,
        run_name: str | None = None,
        experiment: str | None = None,
        join: Join | None = None,
    ) -> None:
        self._dataset = dataset
        self._scorers = scorers
        self._run_name = run_name
        self._experiment = experiment
        self._records = list(dataset) if dataset is not None else []
        self._index = RecordIndex(self._records, join=join)
        self._times_asked: Counter[int] = Counter()
        self._scoring: set[Future[None]] = set()
        self._failures: list[BaseException] = []
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._times_asked.total()

    def add(self, run: CapturedRun) -> Future[None]:
        """Take a complete run; it is scored in the background.

        Returns:
            Done when the row is scored and saved.
        """
        number = self._index.find(run)
        with self._lock:
            matched = number is not None
            # Behind all records of the dataset, so that these keep their places.
            at = len(self._records) + len(self) if number is None else number
            self._times_asked[at] += 1
            place = Place(at, self._times_asked[at])
        record = EvalRecord(request=run.request) if number is None else self._records[number]
        answer = Answer(record=record, outcome=run.outcome(), run=run, matched=matched)
        scored = event_loop.start(self._pipeline.take(place, answer))
        self._scoring.add(scored)
        scored.add_done_callback(self._done)
        return scored

    def finish(self) -> EvaluationResult:
        """Wait for all scores, write the evaluation to MLflow, and make its result.

        Raises:
            JournalError: A row could not be saved.
        """
        wait(set(self._scoring))
        if self._failures:
            raise self._failures[0]
        self._journal.note(complete=True, rows=len(self))
        destination = Destination.current(run_name=self._run_name, experiment=self._experiment)
        return MlflowWriter(self._journal, destination, self._dataset).finish()

    def _done(self, scored: Future[None]) -> None:
        if (error := scored.exception()) is not None:
            self._failures.append(error)
        self._scoring.discard(scored)

    @cached_property
    def _journal(self) -> Journal:
        return Journal.create(Subject(self._dataset, self._scorers).facts())

    @cached_property
    def _pipeline(self) -> Pipeline:
        return Pipeline(self._journal, self._scorers)
