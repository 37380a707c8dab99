"""What the terminal and a notebook show of an evaluation first."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from langchain_dbx_eval.evaluation import EvaluationResult
from langchain_dbx_eval.evaluation.journal.rows import Row
from langchain_dbx_eval.reporting.comparison import Comparison, Flip, MetricDifference
from langchain_dbx_eval.reporting.html.model import Verdict
from langchain_dbx_eval.reporting.html.rows import overall_assessment, verdict_of
from langchain_dbx_eval.reporting.metric_names import column_order
from langchain_dbx_eval.reporting.pairing import RowId
from langchain_dbx_eval.scoring.contract import OVERALL_ASSESSMENT

__all__ = [
    "DIFFERENCE_TITLES",
    "VERDICT_TEXTS",
    "Worst",
    "comparison_title",
    "difference_texts",
    "find_worst",
    "flipped_rows",
    "headline",
    "labels",
    "plural",
    "resources",
    "significant_differences",
    "verdict_counts",
]

VERDICT_TEXTS: Mapping[Verdict, tuple[str, str, str]] = {
    "error": ("!", "red", "failed"),
    "fail": ("✕", "red", "fails"),
    "empty": ("∅", "yellow", "empty answer"),
    "unknown": ("?", "yellow", "a judge failed"),
    "none": ("·", "", "not judged"),
    "pass": ("✓", "green", "passes"),
}
"""Mark, color and text of each verdict, from the worst to the best."""

DIFFERENCE_TITLES = (
    "Metric",
    "Baseline",
    "This run",
    "Difference",
    "95 % interval",
    "p (Holm)",
    "Pairs",
)
"""The titles of the name of a metric and of its `difference_texts`."""

_RANKS = list(VERDICT_TEXTS)


@dataclass(frozen=True)
class Worst:
    """The worst rows, and what made rows fail.

    Attributes:
        rows: Failed invocations, then answers that a judge rejects, then empty answers, then the
            others by ascending mean score. Rows with the best scores, or without any, are left out.
        causes: The number of rows by root cause, most frequent first.
    """

    rows: list[Row]
    causes: Mapping[str, int]


def find_worst(result: EvaluationResult, number: int) -> Worst:
    """Find the worst rows, reading each row once."""
    causes: Counter[str] = Counter()

    def counted() -> Iterator[Row]:
        for row in result.sample.rows:
            overall = overall_assessment(row)
            if overall is not None and (cause := overall.metadata.get("root_cause_assessment")):
                causes[cause] += 1
            yield row

    def key(row: Row) -> tuple[int, float, int, int]:
        scores = [a.number for a in row.assessments if a.number is not None]
        mean = sum(scores) / len(scores) if scores else 1.0
        rank = _RANKS.index(verdict_of(row))
        return min(rank, _RANKS.index("none")), mean, row.number, row.repetition

    rows = heapq.nsmallest(number, counted(), key=key)
    best = _RANKS.index("none"), 1.0
    return Worst([row for row in rows if key(row)[:2] < best], dict(causes.most_common()))


def verdict_counts(result: EvaluationResult) -> tuple[int, int]:
    """Return the number of rows with a verdict of the judges, and how many of them fail."""
    verdict = result.summary.details.get(f"{OVERALL_ASSESSMENT}/rating/percentage")
    if verdict is None:
        return 0, 0
    return verdict.n, round(verdict.n * (1 - verdict.value))


def headline(result: EvaluationResult) -> tuple[str, bool]:
    """Return how many rows failed, and how many answers the judges reject; and whether any did."""
    judged, failing = verdict_counts(result)
    warning = result.summary.warning
    text = warning or f"None of {plural(result.summary.rows.total, 'row')} failed"
    if judged and failing:
        text += f", {failing} of {plural(judged, 'judged answer')} fail"
    elif judged:
        text += f", all {plural(judged, 'judged answer')} pass"
    return f"{text}.", bool(warning or failing)


def labels(result: EvaluationResult) -> list[tuple[str, str]]:
    """Return what identifies an evaluation, and what is left to do with it."""
    manifest = result.manifest
    lines = []
    if result.dataset_name:
        version = (manifest.dataset or {}).get("version")
        lines.append(
            ("Dataset", result.dataset_name + ("" if version is None else f", version {version}"))
        )
    if manifest.destination.run_name:
        lines.append(("Run", manifest.destination.run_name))
    if result.run_id:
        lines.append(("MLflow run", result.run_id))
    lines.append(("Evaluation", result.evaluation_id))
    if todo := result.next_step:
        lines.append(("To do", todo))
    return lines


def resources(result: EvaluationResult) -> str:
    """Return the cost of the judges, and that of the model, as far as they are known."""
    judging, parts = result.summary.judging, []
    cost = result.summary.details.get("agent/cost_usd/average")
    if cost is not None:
        parts.append(f"model ${cost.value * cost.n:,.4f}")
    if judging.calls or judging.cached:
        cached = f" and {judging.cached:,} from the cache" if judging.cached else ""
        tokens = judging.input_tokens + judging.output_tokens
        used = f", {tokens:,} tokens" if tokens else ""
        price = "" if judging.cost_usd is None else f", ${judging.cost_usd:,.4f}"
        parts.append(f"judges {judging.calls:,} calls{cached}{used}{price}")
    return "; ".join(parts)


def comparison_title(comparison: Comparison, number: int = 1) -> str:
    """Return how many rows a comparison is about."""
    name = "the baseline" if number == 1 else f"baseline {number}"
    title = f"Comparison with {name}, {comparison.paired} rows in common"
    if comparison.only_baseline or comparison.only_candidate:
        title += (
            f", {len(comparison.only_baseline)} only in the baseline, "
            f"{len(comparison.only_candidate)} only in this run"
        )
    return title


def plural(number: int, noun: str) -> str:
    """Return ``1 row`` or ``2 rows``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def significant_differences(metrics: Iterable[MetricDifference]) -> tuple[int, int]:
    """Return how many metrics are significantly better, and how many worse."""
    counts = Counter(metric.is_better for metric in metrics)
    return counts[True], counts[False]


def difference_texts(metric: MetricDifference) -> tuple[str, str, str, str, str, str]:
    """Return baseline, candidate, difference, its interval, p-value and pairs of a metric."""
    interval, p_value = metric.interval, metric.p_adjusted
    p_text = "-" if p_value is None else "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"
    total = metric.pairs + metric.only_baseline + metric.only_candidate
    before, after = (
        "-" if number is None else f"{number:.4g}" for number in (metric.baseline, metric.candidate)
    )
    return (
        before,
        after,
        "-" if metric.difference is None else f"{metric.difference:+.3g}",
        "-" if interval is None else f"[{interval.low:+.3g}, {interval.high:+.3g}]",
        p_text + "*" * metric.is_significant,
        f"{metric.pairs} of {total}" if total else "-",
    )


def flipped_rows(flips: Iterable[Flip]) -> list[tuple[bool, RowId, list[Flip]]]:
    """Return the rows whose pass or fail changed in some metric, those that are worse first.

    Returns:
        Whether the row passes now, the row, and its flips in the order of the metrics.
    """
    rows: dict[tuple[bool, RowId], list[Flip]] = {}
    for flip in sorted(flips, key=lambda flip: column_order(flip.metric)):
        rows.setdefault((flip.passed, flip.row_id), []).append(flip)
    found = [(passed, row_id, of_row) for (passed, row_id), of_row in rows.items()]
    return sorted(found, key=lambda row: (row[0], row[1].number, row[1].repetition))
