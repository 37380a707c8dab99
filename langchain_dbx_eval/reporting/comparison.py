"""Two evaluations side by side."""

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
    """One metric in two runs; None where a run does not have it."""

    name: str
    baseline: float | None
    candidate: float | None

    @property
    def difference(self) -> float | None:
        """Candidate minus baseline, where both have it."""
        if self.baseline is None or self.candidate is None:
            return None
        return self.candidate - self.baseline


@dataclass(frozen=True)
class RowChanges:
    """How many of the rows that both runs scored have a higher, lower or equal score."""

    column: str
    higher: int
    lower: int
    equal: int


@dataclass(frozen=True)
class Comparison:
    """What changed from a baseline to a candidate.

    Attributes:
        metrics: Each metric of either run, by name.
        rows: For each score, how the rows moved; paired by ``request_id``.
        paired: How many rows both runs have.
    """

    metrics: tuple[MetricDifference, ...]
    rows: tuple[RowChanges, ...]
    paired: int


def compare(result: EvaluationResult, baseline: EvaluationResult) -> Comparison:
    """Compare an evaluation with an earlier one.

    Args:
        result: The candidate.
        baseline: What it is measured against.

    Returns:
        The differences, metric by metric and row by row.

    Raises:
        ConfigurationError: The two have no row in common, so nothing can be compared.
    """
    before, after = _by_name(baseline), _by_name(result)
    common = [name for name in after if name in before]
    if not common:
        msg = (
            "The two results have no request_id in common. Compare runs over the same dataset, or "
            "give your records request ids."
        )
        raise ConfigurationError(msg)
    names = sorted({*baseline.metrics, *result.metrics})
    differences = (
        MetricDifference(name, baseline.metrics.get(name), result.metrics.get(name))
        for name in names
    )
    changes = _row_changes([(before[i], after[i]) for i in common])
    return Comparison(tuple(differences), changes, len(common))


def _by_name(result: EvaluationResult) -> dict[tuple[str, int], Row]:
    return {(row.record.request_id, row.repetition): row for row in result.rows}


def _row_changes(pairs: list[tuple[Row, Row]]) -> tuple[RowChanges, ...]:
    moves: dict[str, Counter[str]] = {}
    for before, after in pairs:
        old, new = _scores(before), _scores(after)
        for column in old.keys() & new.keys():
            higher, lower = new[column] > old[column], new[column] < old[column]
            move = "higher" if higher else "lower" if lower else "equal"
            moves.setdefault(column, Counter())[move] += 1
    return tuple(
        RowChanges(column, count["higher"], count["lower"], count["equal"])
        for column, count in sorted(moves.items())
    )


def _scores(row: Row) -> dict[str, Any]:
    return {a.value_column: a.number for a in row.assessments if a.number is not None}
