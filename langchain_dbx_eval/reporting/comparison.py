"""Comparison of an evaluation with a baseline."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.evaluation import EvaluationResult
from langchain_dbx_eval.evaluation.journal.rows import Row

__all__ = ["Comparison", "MetricDifference", "RowChanges", "compare"]


@dataclass(frozen=True)
class MetricDifference:
    """One metric of two evaluations.

    Attributes:
        name: The name of the metric.
        baseline: The value in the baseline; None: it has no such metric.
        candidate: The value in the candidate; None: it has no such metric.
    """

    name: str
    baseline: float | None
    candidate: float | None

    @property
    def difference(self) -> float | None:
        """Candidate minus baseline; None: one of them has no value."""
        if self.baseline is None or self.candidate is None:
            return None
        return self.candidate - self.baseline


@dataclass(frozen=True)
class RowChanges:
    """The changes of one score between two evaluations, in numbers of rows.

    Attributes:
        column: The column of the score.
        higher: Rows with a higher score in the candidate.
        lower: Rows with a lower score in the candidate.
        equal: Rows with equal scores.
    """

    column: str
    higher: int
    lower: int
    equal: int


@dataclass(frozen=True)
class Comparison:
    """The differences between a baseline and a candidate.

    Attributes:
        metrics: The metrics of both evaluations, sorted by name.
        rows: The changes per score column; rows are paired by ``request_id`` and repetition.
        paired: The number of rows that both evaluations have.
    """

    metrics: tuple[MetricDifference, ...]
    rows: tuple[RowChanges, ...]
    paired: int


def compare(result: EvaluationResult, baseline: EvaluationResult) -> Comparison:
    """Compare an evaluation with an earlier one.

    Args:
        result: The candidate.
        baseline: The earlier evaluation.

    Returns:
        The differences per metric and per row.

    Raises:
        ConfigurationError: The two evaluations have no row in common.
    """
    before, after = _by_key(baseline), _by_key(result)
    common = [key for key in after if key in before]
    if not common:
        msg = (
            "The two results have no request_id in common. Compare evaluations of the same "
            "dataset, or set request_id in your records."
        )
        raise ConfigurationError(msg)
    names = sorted({*baseline.metrics, *result.metrics})
    differences = (
        MetricDifference(name, baseline.metrics.get(name), result.metrics.get(name))
        for name in names
    )
    changes = _row_changes([(before[key], after[key]) for key in common])
    return Comparison(tuple(differences), changes, len(common))


def _by_key(result: EvaluationResult) -> dict[tuple[str, int], Row]:
    return {(row.record.request_id, row.repetition): row for row in result.rows}


def _row_changes(pairs: list[tuple[Row, Row]]) -> tuple[RowChanges, ...]:
    changes: dict[str, Counter[str]] = {}
    for before, after in pairs:
        old, new = _scores(before), _scores(after)
        for column in old.keys() & new.keys():
            higher, lower = new[column] > old[column], new[column] < old[column]
            change = "higher" if higher else "lower" if lower else "equal"
            changes.setdefault(column, Counter())[change] += 1
    return tuple(
        RowChanges(column, count["higher"], count["lower"], count["equal"])
        for column, count in sorted(changes.items())
    )


def _scores(row: Row) -> dict[str, Any]:
    return {a.value_column: a.number for a in row.assessments if a.number is not None}
