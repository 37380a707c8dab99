"""Reports of evaluations, the comparison of evaluations, and the agreement with people.

Modules:
    agreement: the agreement of a judge with people.
    terminal: an evaluation, and a comparison, in the terminal.
    notebook: the same in a notebook, and `show()`.
    report: the file of the HTML report.
    html: the HTML report.
    overview: what all of them show first: the headline, the worst rows, root causes.
    metric_names: which metrics they show, and in which order.
    comparison: the comparison of an evaluation with a baseline.
    differences: the differences between paired rows.
    pairing: the rows of two evaluations, paired by record and repetition.
    dashboard: the metrics of evaluations over time: tables, plots, dashboards of Databricks.
    gate: conditions on an evaluation or a comparison, with a verdict.
"""

from langchain_dbx_eval.reporting.agreement import CorrectedMean, JudgeAgreement, judge_agreement
from langchain_dbx_eval.reporting.comparison import Comparison, compare
from langchain_dbx_eval.reporting.dashboard import (
    AppendedMetrics,
    MetricsHistory,
    append_metrics_to_table,
    history,
    write_dashboard,
)
from langchain_dbx_eval.reporting.gate import CheckReport, Verdict
from langchain_dbx_eval.reporting.html import import_ratings
from langchain_dbx_eval.reporting.report import write_report
from langchain_dbx_eval.reporting.terminal import print_comparison, print_result

__all__ = [
    "AppendedMetrics",
    "CheckReport",
    "Comparison",
    "CorrectedMean",
    "JudgeAgreement",
    "MetricsHistory",
    "Verdict",
    "append_metrics_to_table",
    "compare",
    "history",
    "import_ratings",
    "judge_agreement",
    "print_comparison",
    "print_result",
    "write_dashboard",
    "write_report",
]
