"""Which metrics a report shows, and in which order."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Literal

from langchain_dbx_eval.reporting.differences import MetricDifference
from langchain_dbx_eval.scoring.aggregates import OPERATIONAL, Metrics, MetricSummary, Summary
from langchain_dbx_eval.scoring.contract import OVERALL_ASSESSMENT

__all__ = [
    "column_order",
    "displayed_differences",
    "displayed_metrics",
    "displayed_summaries",
    "metric_kind",
    "short_names",
]


def displayed_metrics(names: Collection[str]) -> list[str]:
    """Return the metrics that a report shows, in its order.

    A boolean has a share and an average, which are the same number: the share is shown.
    """
    return [
        name
        for name in sorted(names, key=column_order)
        if name.endswith("/percentage")
        or f"{name.removesuffix('/average')}/percentage" not in names
    ]


def displayed_summaries(summary: Summary) -> list[MetricSummary]:
    """Return the metrics that a table below the headline shows, which has the numbers of rows."""
    details = [summary.details[name] for name in displayed_metrics(summary.details)]
    return [
        one
        for one in details
        if not one.is_count or (one.value and not one.name.startswith("rows/"))
    ]


def metric_kind(name: str) -> Literal["score", "operational", "count"]:
    """Return whether a metric is a score, an operational one (latency, tokens), or a count."""
    if name.endswith("/error_count") or (
        name.startswith("rows/") and not name.endswith("/percentage")
    ):
        return "count"
    return "operational" if name.startswith(OPERATIONAL) else "score"


def column_order(name: str) -> tuple[int, str]:
    """Sort the verdict first, then judges, other scores, and latency and tokens."""
    parts: Iterable[str] = (OVERALL_ASSESSMENT, "response/llm_judged", "retrieval/llm_judged")
    rank = next((n for n, part in enumerate(parts) if name.startswith(part)), 3)
    return (4 if name.startswith(OPERATIONAL) else rank), name


def displayed_differences(metrics: Iterable[MetricDifference]) -> dict[str, MetricDifference]:
    """Return the metrics that a comparison shows, by name, in its order.

    A count of rows or errors is shown only if it differs.
    """
    by_name = {metric.name: metric for metric in metrics}
    return {
        name: by_name[name]
        for name in displayed_metrics(by_name)
        if metric_kind(name) != "count" or by_name[name].difference
    }


def short_names(names: Collection[str]) -> dict[str, str]:
    """Return the shortest name of each metric that ``summary[name]`` accepts.

    That is the name of the scorer alone, unless several metrics have it.
    """
    metrics, short = Metrics(dict.fromkeys(names, 0.0)), {}
    for name in names:
        stem = re.sub(r"(/(value|rating|score|precision))?/(average|percentage)$", "", name)
        alias = stem.rpartition("/")[2]
        is_short = stem != name and not name.startswith("rows/")
        short[name] = alias if is_short and len(metrics.candidates(alias)) == 1 else name
    return short
