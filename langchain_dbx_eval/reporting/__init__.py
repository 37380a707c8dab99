"""Reports of evaluations, the comparison of two evaluations, and the agreement with people.

Modules:
    agreement: the agreement of a judge with people.
    report: the report in the terminal and as an HTML page (template: ``report.html.j2``).
    comparison: the comparison of an evaluation with a baseline.
    differences: the differences between paired rows.
    pairing: the rows of two evaluations, paired by record and repetition.
    gate: conditions on an evaluation or a comparison, with a verdict.
"""

from langchain_dbx_eval.reporting.agreement import CorrectedMean, JudgeAgreement, judge_agreement
from langchain_dbx_eval.reporting.comparison import Comparison, compare
from langchain_dbx_eval.reporting.gate import CheckReport, Verdict
from langchain_dbx_eval.reporting.report import print_comparison, print_result, write_report

__all__ = [
    "CheckReport",
    "Comparison",
    "CorrectedMean",
    "JudgeAgreement",
    "Verdict",
    "compare",
    "judge_agreement",
    "print_comparison",
    "print_result",
    "write_report",
]
