"""The metrics of evaluations over time: in a table, as a plot, and as a dashboard of Databricks.

Modules:
    append: `append_metrics_to_table`.
    history: `history`, the runs of such a table.
    plot: their scores over time, with matplotlib.
    lakeview: `write_dashboard`, the file of an AI/BI dashboard.
    run_metrics: the metrics of one run.
    forms: the long and the wide form of the table.
    tables: the table in the local catalog, in Spark and in a SQL warehouse.
"""

from langchain_dbx_eval.reporting.dashboard.append import AppendedMetrics, append_metrics_to_table
from langchain_dbx_eval.reporting.dashboard.history import MetricsHistory, history
from langchain_dbx_eval.reporting.dashboard.lakeview import write_dashboard
from langchain_dbx_eval.reporting.dashboard.run_metrics import MetricPoint, RunMetrics

__all__ = [
    "AppendedMetrics",
    "MetricPoint",
    "MetricsHistory",
    "RunMetrics",
    "append_metrics_to_table",
    "history",
    "write_dashboard",
]
