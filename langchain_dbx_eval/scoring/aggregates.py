"""Assessments of many rows as the metrics of a run, under Agent Evaluation's names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from langchain_dbx_eval.scoring.assessments import Assessment
from langchain_dbx_eval.scoring.context import Outcome

__all__ = ["OUTCOME_COLUMNS", "outcome_values", "run_metrics"]

OUTCOME_COLUMNS = (
    "agent/latency_seconds",
    "agent/total_token_count",
    "agent/total_input_token_count",
    "agent/total_output_token_count",
)


def outcome_values(outcome: Outcome) -> dict[str, float | int | None]:
    """What a row cost, by the columns of `OUTCOME_COLUMNS`."""
    values = (
        outcome.latency_seconds,
        outcome.total_tokens,
        outcome.input_tokens,
        outcome.output_tokens,
    )
    return dict(zip(OUTCOME_COLUMNS, values, strict=True))


def run_metrics(rows: Iterable[tuple[Outcome, Iterable[Assessment]]]) -> dict[str, float]:
    """Aggregate a run.

    Args:
        rows: Each row's outcome and assessments.

    Returns:
        ``<column>/average`` over the rows that have a number there, and
        ``judge/<name>/error_count`` for each scorer that failed somewhere.
    """
    numbers: defaultdict[str, list[float]] = defaultdict(list)
    errors: defaultdict[str, int] = defaultdict(int)
    for outcome, assessments in rows:
        for column, value in outcome_values(outcome).items():
            if value is not None:
                numbers[column].append(value)
        for assessment in assessments:
            if assessment.error is not None:
                errors[assessment.name] += 1
            elif isinstance(assessment.value, int | float):
                numbers[assessment.column].append(assessment.value)
    averages = {f"{column}/average": sum(v) / len(v) for column, v in numbers.items()}
    return averages | {f"judge/{name}/error_count": float(n) for name, n in errors.items()}
