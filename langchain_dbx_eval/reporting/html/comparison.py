"""The comparison with baselines as the report shows it."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_dbx_eval.evaluation import EvaluationResult
from langchain_dbx_eval.reporting.comparison import Comparison
from langchain_dbx_eval.reporting.differences import Flip, MetricDifference
from langchain_dbx_eval.reporting.html.model import (
    ComparisonData,
    FlipData,
    MetricDifferenceData,
    RunData,
)
from langchain_dbx_eval.reporting.html.redaction import Redactor
from langchain_dbx_eval.reporting.metric_names import displayed_metrics, metric_kind
from langchain_dbx_eval.reporting.pairing import pair_rows, read_rows

__all__ = ["describe_comparison", "find_partners"]


def describe_comparison(
    comparison: Comparison, run: RunData, label: str, redact: Redactor
) -> ComparisonData:
    """Describe the comparison of a run with one baseline.

    Args:
        comparison: The comparison.
        run: The run.
        label: The name of the baseline.
        redact: What is left out.
    """
    numbers, repetitions = run["index"]["number"], run["index"]["repetition"]
    positions = {key: at for at, key in enumerate(zip(numbers, repetitions, strict=True))}
    metrics = {metric.name: metric for metric in comparison.metrics}
    return ComparisonData(
        label=redact.text(label),
        paired=comparison.paired,
        only_baseline=len(comparison.only_baseline),
        only_run=len(comparison.only_candidate),
        metrics=[_difference(metrics[name], redact) for name in displayed_metrics(metrics)],
        flips=[_flip(flip, positions, redact) for flip in comparison.flips],
        latency=[
            [one.column, one.quantile, one.baseline, one.candidate]
            + ([one.interval.low, one.interval.high] if one.interval else [None, None])
            for one in comparison.latency
        ],
        partners=None,
    )


def find_partners(
    result: EvaluationResult, baselines: Sequence[EvaluationResult]
) -> list[list[int | None]]:
    """Return, for each baseline, the position of the row that belongs to each row of the result."""
    rows = read_rows(result.rows)
    found: list[list[int | None]] = []
    for baseline in baselines:
        before = read_rows(baseline.rows)
        positions = {id(row): at for at, row in enumerate(before)}
        partner = {id(after): positions[id(row)] for row, after in pair_rows(before, rows).pairs}
        found.append([partner.get(id(row)) for row in rows])
    return found


def _difference(metric: MetricDifference, redact: Redactor) -> MetricDifferenceData:
    interval = metric.interval
    return MetricDifferenceData(
        name=redact.text(metric.name),
        kind=metric_kind(metric.name),
        baseline=metric.baseline,
        candidate=metric.candidate,
        difference=metric.difference,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        p=metric.p_adjusted,
        significant=metric.is_significant,
        pairs=metric.pairs,
        lacking=metric.only_baseline + metric.only_candidate,
    )


def _flip(flip: Flip, positions: dict[tuple[int, int], int], redact: Redactor) -> FlipData:
    return FlipData(
        metric=redact.text(flip.metric),
        row=positions.get((flip.row_id.number, flip.row_id.repetition)),
        request_id=redact.text(flip.row_id.request_id),
        passed=flip.passed,
        cause_before=redact(flip.root_cause_before),
        cause_after=redact(flip.root_cause_after),
    )
