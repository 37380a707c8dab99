"""Scoring: from a record and its outcome to assessments and metrics.

Modules:
    assessments: the results of scorers for one row.
    context: the input of scorers, and the protocol `Scorer`.
    contract: column and metric names of Agent Evaluation.
    selection: the judges and scorers of a run.
    score_row: scoring of one row by all scorers.
    overall_assessment: pass or fail, root cause and suggested action of a row.
    aggregates: the metrics of a run.
    custom: the user's own scorers: `scorer` and `PromptJudge`.
    results: conversion of what a scorer returned to assessments.
    answer_text: the texts of requests and responses.
    conversation: their messages and tool calls.
    judges: LLM judges.
    metrics: scorers that need no judge model.
    mlflow: conversion between scorers, traces and those of MLflow.
"""

from langchain_dbx_eval.scoring import metrics
from langchain_dbx_eval.scoring.assessments import Assessment, JudgeUsage, RowScores, Skip
from langchain_dbx_eval.scoring.context import Outcome, Scorer, ScoringContext
from langchain_dbx_eval.scoring.custom import PromptJudge, scorer
from langchain_dbx_eval.scoring.judges.scales import Categorical, Numeric, YesNo
from langchain_dbx_eval.scoring.metrics import *  # noqa: F403
from langchain_dbx_eval.scoring.metrics import DocumentRecall, ExactMatch, TokenF1
from langchain_dbx_eval.scoring.mlflow.scorers import as_mlflow_scorer
from langchain_dbx_eval.scoring.score_row import ascore, score
from langchain_dbx_eval.scoring.selection import built_in_judges, select_scorers

__all__ = [
    "DEFAULT_SCORERS",
    "Assessment",
    "Categorical",
    "JudgeUsage",
    "Numeric",
    "Outcome",
    "PromptJudge",
    "RowScores",
    "Scorer",
    "ScoringContext",
    "Skip",
    "YesNo",
    "as_mlflow_scorer",
    "ascore",
    "built_in_judges",
    "score",
    "scorer",
    "select_scorers",
]
__all__ += metrics.__all__

DEFAULT_SCORERS: tuple[Scorer, ...] = (DocumentRecall(), ExactMatch(), TokenF1())
"""The scorers of a run that lists none."""
