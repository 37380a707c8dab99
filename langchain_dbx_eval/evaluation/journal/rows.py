"""The rows of an evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from langchain_dbx_eval.datasets import EvalDataset, EvalRecord, InvalidRow
from langchain_dbx_eval.evaluation.capture.spans import CapturedRun
from langchain_dbx_eval.scoring import Assessment, Outcome, RowScores
from langchain_dbx_eval.scoring.aggregates import outcome_values
from langchain_dbx_eval.scoring.answer_text import answer_text

__all__ = ["Answer", "ExpectedRow", "Row", "RowKey", "expected_rows"]


class RowKey(NamedTuple):
    """The key of a row.

    Attributes:
        number: The index of the record in the dataset, from 0; a row without a record has an index
            behind all records.
        repetition: Which invocation for that record it is, from 1.
    """

    number: int
    repetition: int = 1


class ExpectedRow(NamedTuple):
    """A row that an evaluation consists of.

    Attributes:
        key: The key of the row.
        record: Its record.
        error: Why the row of the dataset is not a valid record; None if it is one.
    """

    key: RowKey
    record: EvalRecord
    error: str | None = None


def expected_rows(dataset: EvalDataset, repeat: int) -> Iterator[ExpectedRow]:
    """Yield the rows of an evaluation in order: one per row of the dataset and repetition."""
    for number, row in enumerate(dataset.iter_rows()):
        error = f"SchemaError: {row.error}" if isinstance(row, InvalidRow) else None
        record = row.to_record() if isinstance(row, InvalidRow) else row
        for repetition in range(1, repeat + 1):
            yield ExpectedRow(RowKey(number, repetition), record, error)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A row that is answered and not scored yet.

    Attributes:
        record: The request, and what is known about a good answer.
        outcome: The result of the model: its response, documents, tokens, or error.
        run: The captured call of the model; None if there was no call.
        matched: Whether the record belongs to the dataset.
        exception: What the model raised; not stored.
    """

    record: EvalRecord
    outcome: Outcome
    run: CapturedRun | None = None
    matched: bool = True
    exception: BaseException | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class Row(Answer):
    """One row of an evaluation.

    Attributes:
        key: The key of the row.
        scores: The assessments of the row, and the scorers that lacked an input.
        trace_id: The MLflow trace of the row; None until it is written.
    """

    key: RowKey
    scores: RowScores
    trace_id: str | None = None

    @property
    def number(self) -> int:
        """The index of the record in the dataset, or one behind all records."""
        return self.key.number

    @property
    def repetition(self) -> int:
        """Which invocation for that record it is, from 1."""
        return self.key.repetition

    @property
    def assessments(self) -> tuple[Assessment, ...]:
        """The assessments of the row."""
        return self.scores.assessments

    def _repr_html_(self) -> str:
        from langchain_dbx_eval.reporting.notebook import row_html

        return row_html(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the row of ``tables["eval_results"]``: input columns, outcome, assessments."""
        values: dict[str, Any] = {
            **self.record.to_row(),
            "response": answer_text(self.outcome.response),
            "retrieved_context": self.outcome.retrieved_context,
            "model_error_message": self.outcome.error,
            **outcome_values(self.outcome),
        }
        for skip in self.scores.skipped:
            if skip.value_column:
                values[skip.value_column] = None
        for assessment in self.assessments:
            values.update(assessment.columns())
        return values
