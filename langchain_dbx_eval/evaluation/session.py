"""The rows of one evaluation, from captured run to scores."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import BaseMessage, convert_to_openai_messages

from langchain_dbx_eval import event_loop
from langchain_dbx_eval.datasets import EvalDataset, EvalRecord, record_key
from langchain_dbx_eval.evaluation.capture import CapturedRun
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
    """

    def __init__(
        self,
        dataset: EvalDataset | None,
        scorers: Sequence[AnyScorer],
        *,
        run_name: str | None = None,
        experiment: str | None = None,
    ) -> None:
        self._dataset = dataset
        self._scorers = scorers
        self._run_name = run_name
        self._experiment = experiment
        self.records = list(dataset) if dataset is not None else []
        self._by_id = {r.request_id: n for n, r in reversed(list(enumerate(self.records)))}
        self._by_key = {record_key(r.request): n for n, r in enumerate(self.records)}
        self._rows: list[Future[Row]] = []
        self._numbers: set[int] = set()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, run: CapturedRun) -> None:
        """Take a complete run; it is scored in the background."""
        with self._lock:
            self._enqueue(self._position(run), run.outcome(), run)

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

    def _enqueue(self, at: _Position, outcome: Outcome, run: CapturedRun | None) -> None:
        self._numbers.add(at.number)
        self._rows.append(event_loop.start(self._score(at, outcome, run)))

    async def _score(self, at: _Position, outcome: Outcome, run: CapturedRun | None) -> Row:
        scores = await ascore(ScoringContext(at.record, outcome), self._scorers)
        return Row(at.number, at.record, outcome, scores, run, at.matched)

    def _position(self, run: CapturedRun) -> _Position:
        for candidate in self._candidates(run):
            if candidate is not None:
                return _Position(candidate, self.records[candidate], matched=True)
        # Behind all records of the dataset, so that these keep their places.
        record = EvalRecord(request=run.request)
        return _Position(len(self.records) + len(self._rows), record, matched=False)

    def _candidates(self, run: CapturedRun) -> Iterable[int | None]:
        yield run.metadata.get(ROW_KEY)
        yield self._by_id.get(_hashable(run.metadata.get("request_id")))
        if self.records:
            for request in _forms(run.request):
                yield self._by_key.get(record_key(request))


def _forms(request: Any) -> Iterator[Any]:
    """The ways in which a record may hold what a chain was given."""
    yield request
    messages = request.get("messages") if isinstance(request, dict) else request
    if isinstance(messages, list) and all(isinstance(m, BaseMessage) for m in messages):
        yield {"messages": convert_to_openai_messages(messages)}
        if len(messages) == 1:
            yield messages[0].text


def _hashable(value: Any) -> Any:
    return value if isinstance(value, str | int) else None
