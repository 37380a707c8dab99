"""From the scores of many rows to the metrics of a run, with what they cover and their intervals.

Modules:
    names: the metrics of a run by name and alias.
    summary: the result: metrics with their coverage, counts of rows, failures, judges.
    repeats: per-record means, pass@k and pass^k of records that were answered several times.
    collect: `summarize`, which reads the rows.
"""

from langchain_dbx_eval.scoring.aggregates.collect import (
    Failures,
    RecordKey,
    RowResult,
    outcome_values,
    record_value,
    summarize,
)
from langchain_dbx_eval.scoring.aggregates.names import AMOUNTS, OPERATIONAL, Metrics
from langchain_dbx_eval.scoring.aggregates.repeats import PassEstimate, RepeatSummary
from langchain_dbx_eval.scoring.aggregates.summary import (
    MetricSummary,
    Percentage,
    RowCounts,
    Summary,
)

__all__ = [
    "AMOUNTS",
    "OPERATIONAL",
    "Failures",
    "MetricSummary",
    "Metrics",
    "PassEstimate",
    "Percentage",
    "RecordKey",
    "RepeatSummary",
    "RowCounts",
    "RowResult",
    "Summary",
    "outcome_values",
    "record_value",
    "summarize",
]
