"""`EvaluationResult`: what an evaluation found, in the names of Agent Evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from langchain_dbx_eval._extras import require
from langchain_dbx_eval.datasets import EvalDataset, EvalRecord
from langchain_dbx_eval.evaluation.capture import CapturedRun
from langchain_dbx_eval.scoring import Assessment, Outcome, RowScores
from langchain_dbx_eval.scoring.aggregates import Metrics, Summary, outcome_values, summarize
from langchain_dbx_eval.scoring.answers import answer_text
from langchain_dbx_eval.scoring.contract import OUTCOME_COLUMNS

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["EvaluationResult", "Row"]


@dataclass(frozen=True)
class Row:
    """One row of an evaluation.

    Attributes:
        number: Its place: the record's in the dataset, or one behind all of them.
        record: What was asked, and what is known about a good answer.
        outcome: What the chain made of it.
        scores: What the scorers say, and which of them had nothing to say it by.
        run: The chain's call, step by step; None where there was none.
        matched: Whether the record comes from the dataset.
    """

    number: int
    record: EvalRecord
    outcome: Outcome
    scores: RowScores
    run: CapturedRun | None
    matched: bool

    @property
    def assessments(self) -> tuple[Assessment, ...]:
        """What the scorers say."""
        return self.scores.assessments

    def to_dict(self) -> dict[str, Any]:
        """The row of ``tables["eval_results"]``: input columns, outcome, assessments."""
        values: dict[str, Any] = {
            **self.record.to_row(),
            "response": answer_text(self.outcome.response),
            "retrieved_context": self.outcome.retrieved_context,
            "model_error_message": self.outcome.error,
            **outcome_values(self.outcome),
        }
        for skip in self.scores.skipped:
            values[skip.value_column] = None
        for assessment in self.assessments:
            values.update(assessment.columns())
        return values


class EvaluationResult:
    """What an evaluation found.

    Attributes:
        rows: Its rows, in the order of the dataset.
        dataset: The dataset, pinned to the version that was evaluated; None without one.
        run_id: The MLflow run that it is logged to.
        experiment_id: The MLflow experiment of that run.
        trace_ids: The MLflow trace of each row.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        *,
        dataset: EvalDataset | None = None,
        run_id: str | None = None,
        experiment_id: str | None = None,
        trace_ids: Sequence[str] = (),
    ) -> None:
        self.rows = tuple(rows)
        self.dataset = dataset
        self.run_id = run_id
        self.experiment_id = experiment_id
        self.trace_ids = tuple(trace_ids)

    @property
    def metrics(self) -> Metrics:
        """The run's metrics by name, such as ``retrieval/ground_truth/document_recall/average``.

        The documentation page's shorter spelling (``response/llm_judged/groundedness/percentage``)
        is found too.
        """
        return self.summary.metrics

    @cached_property
    def summary(self) -> Summary:
        """The metrics with how far they can be trusted: numbers of rows, intervals, errors."""
        return summarize((row.outcome, row.scores) for row in self.rows)

    @cached_property
    def tables(self) -> dict[str, pd.DataFrame]:
        """``{"eval_results": …}``: one line a row, with its inputs, outcome and assessments."""
        pandas = require("pandas", extra="eval")
        table = pandas.DataFrame([row.to_dict() for row in self.rows])
        if self.trace_ids:
            table["trace_id"] = list(self.trace_ids)
        first = [
            c for c in ("request_id", "request", "response", "expected_response") if c in table
        ]
        last = [c for c in OUTCOME_COLUMNS if c in table]
        middle = [c for c in table.columns if c not in {*first, *last}]
        return {"eval_results": table[[*first, *middle, *last]]}

    @property
    def failures(self) -> list[Row]:
        """The rows whose call failed."""
        return [row for row in self.rows if row.outcome.error is not None]

    @property
    def unmatched(self) -> list[Row]:
        """The rows whose call belongs to no record of the dataset."""
        return [row for row in self.rows if not row.matched]

    def __repr__(self) -> str:
        data = f" on {self.dataset.name}" if self.dataset is not None and self.dataset.name else ""
        return (
            f"EvaluationResult({len(self.rows)} rows{data}, {len(self.failures)} failed, "
            f"run_id={self.run_id!r})"
        )

    def _repr_html_(self) -> str:
        pandas = require("pandas", extra="eval")
        metrics = pandas.DataFrame(sorted(self.metrics.items()), columns=["metric", "value"])
        return f"<p>{self!r}</p>{metrics.to_html(index=False)}"
