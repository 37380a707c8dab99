"""The gate: conditions on the metrics of an evaluation, with a verdict.

Modules:
    check: checks an evaluation or a comparison against conditions.
    conditions: the grammar of conditions.
    measure: the numbers that a condition is compared with.
    verdicts: the verdict of a condition, from its numbers.
    report: `CheckReport`: verdict, conditions, failing records.
    junit: a report as JUnit XML.
    markdown: a report as GitHub Markdown.
"""

from langchain_dbx_eval.reporting.gate.conditions import Condition, parse_conditions
from langchain_dbx_eval.reporting.gate.report import CheckReport, FailingRecord
from langchain_dbx_eval.reporting.gate.verdicts import CheckedCondition, Measurement, Verdict

__all__ = [
    "CheckReport",
    "CheckedCondition",
    "Condition",
    "FailingRecord",
    "Measurement",
    "Verdict",
    "parse_conditions",
]
