"""The rows to look at first."""

from __future__ import annotations

from langchain_dbx_eval.evaluation import EvaluationResult
from langchain_dbx_eval.evaluation.journal.rows import Row

__all__ = ["worst_rows"]


def worst_rows(result: EvaluationResult, count: int) -> list[Row]:
    """The rows that did worst: those that failed, then those of the lowest mean score.

    Args:
        result: An evaluation.
        count: How many rows to return at most.
    """
    return sorted(result.rows, key=_badness)[:count]


def _badness(row: Row) -> tuple[bool, float, int]:
    scores = [a.number for a in row.assessments if a.number is not None]
    mean = sum(scores) / len(scores) if scores else 1.0
    return (row.outcome.error is None, mean, row.number)
