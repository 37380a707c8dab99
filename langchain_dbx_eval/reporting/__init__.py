"""Reports of evaluations, and the comparison of evaluations.

Modules:
    report: the report in the terminal, and the file of the HTML report.
    html: the HTML report.
    comparison: the comparison of an evaluation with a baseline.
    differences: the differences between paired rows.
    pairing: the rows of two evaluations, paired by record and repetition.
"""

from langchain_dbx_eval.reporting.comparison import Comparison, compare
from langchain_dbx_eval.reporting.html import import_ratings
from langchain_dbx_eval.reporting.report import print_comparison, print_result, write_report

__all__ = [
    "Comparison",
    "compare",
    "import_ratings",
    "print_comparison",
    "print_result",
    "write_report",
]
