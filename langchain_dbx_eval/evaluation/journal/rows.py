"""The rows of an evaluation: which one, what was answered, what the scorers say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from langchain_dbx_eval.datasets import EvalRecord
from langchain_dbx_eval.evaluation.capture.recorder import CapturedRun
from langchain_dbx_eval.scoring import Assessment, Outcome, RowScores
from langchain_dbx_eval.scoring.aggregates import outcome_values
from langchain_dbx_eval.scoring.answer_text import answer_text

__all__ = ["Answer", "Row", "RowKey"]


@dataclass(frozen=True, order=True)
class RowKey:
    """Which row of an evaluation.

    Attributes:
        number: The record's number in the dataset, from 0, or one behind all of them.
        repetition: Which asking of that record, from 1.
    """

    number: int
    repetition: int = 1


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What is known of a row once the chain has answered.

    Attributes:
        record: What was asked, and what is known about a good answer.
        outcome: What the chain made of it.
        run: The chain's call, step by step; None where there was none.
        matched: Whether the record comes from the dataset.
    """

    record: EvalRecord
    outcome: Outcome
    run: CapturedRun | None = None
    matched: bool = True


@dataclass(frozen=True, kw_only=True)
class Row(Answer):
    """One row of an evaluation.

    Attributes:
        place: Which row it is.
        scores: What the scorers say, and which of them had nothing to say it by.
        trace_id: Its trace in MLflow; None until it is written there.
    """

    place: RowKey
    scores: RowScores
    trace_id: str | None = None

    @property
    def number(self) -> int:
        """The record's number in the dataset, or one behind all of them."""
        return self.place.number

    @property
    def repetition(self) -> int:
        """Which asking of that record, from 1."""
        return self.place.repetition

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
