"""The agreement of a judge with people.

Modules:
    measure: `judge_agreement`.
    report: its result, and shares that a few labels correct.
    rows: the answers, rated by a judge and by people.
    labels: the labels of people: columns, MLflow's assessments, mappings; and their scale.
    text: the report as text and as HTML.
"""

from langchain_dbx_eval.reporting.agreement.measure import judge_agreement
from langchain_dbx_eval.reporting.agreement.report import CorrectedMean, JudgeAgreement
from langchain_dbx_eval.reporting.agreement.rows import LabeledRow

__all__ = ["CorrectedMean", "JudgeAgreement", "LabeledRow", "judge_agreement"]
