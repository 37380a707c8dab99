"""The rows of one evaluation, from captured run to scores."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from langchain_dbx_eval import event_loop
from langchain_dbx_eval.datasets import EvalDataset, EvalRecord
from langchain_dbx_eval.evaluation.capture import CapturedRun
from langchain_dbx_eval.evaluation.joining import Join, RecordIndex
from langchain_dbx_eval.evaluation.results import EvaluationResult, Row
from langchain_dbx_eval.evaluation.tracking import log_evaluation
from langchain_dbx_eval.scoring import AnyScorer, Outcome, ScoringContext, ascore

__all__ = ["ROW_KEY", "EvaluationSession"]

ROW_KEY = "dbx_eval_row"
"""Where `evaluate` puts a row's number into the config's metadata: request ids may repeat."""


@dataclass(frozen=True)
class _Position:
    """A record's place among the rows of the result."""

    number: int
    record: EvalRecord
    matched: bool


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
        self.records = list(dataset) if dataset is not None else []
        self._index = RecordIndex(self.records, join=join)
        self._rows: list[Future[Row]] = []
        self._numbers: set[int] = set()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, run: CapturedRun) -> Future[Row]:
        """Take a complete run; it is scored in the background. The future is done when it is."""
        with self._lock:
            return self._enqueue(self._position(run), run.outcome(), run)

    def add_outcome(self, number: int, outcome: Outcome) -> None:
        """Take what is known of a row that was not run: an earlier answer, or a failure."""
        with self._lock:
            self._enqueue(_Position(number, self.records[number], matched=True), outcome, None)

    def has(self, number: int) -> bool:
        """Whether the row of this number has been taken."""
        return number in self._numbers

    def finish(self) -> EvaluationResult:
        """Wait for all scores, write the evaluation to MLflow, and make its result."""
        rows = sorted((future.result() for future in self._rows), key=lambda row: row.number)
        result = EvaluationResult(rows, dataset=self._dataset)
        return log_evaluation(result, run_name=self._run_name, experiment=self._experiment)

    def _enqueue(self, at: _Position, outcome: Outcome, run: CapturedRun | None) -> Future[Row]:
        self._numbers.add(at.number)
        self._rows.append(event_loop.start(self._score(at, outcome, run)))
        return self._rows[-1]

    async def _score(self, at: _Position, outcome: Outcome, run: CapturedRun | None) -> Row:
        scores = await ascore(ScoringContext(at.record, outcome), self._scorers)
        return Row(at.number, at.record, outcome, scores, run, at.matched)

    def _position(self, run: CapturedRun) -> _Position:
        row_number = run.metadata.get(ROW_KEY)
        number = self._index.find(run) if row_number is None else row_number
        if number is not None:
            return _Position(number, self.records[number], matched=True)
        # Behind all records of the dataset, so that these keep their places.
        record = EvalRecord(request=run.request)
        return _Position(len(self.records) + len(self._rows), record, matched=False)
