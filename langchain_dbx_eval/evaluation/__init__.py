"""Evaluation of chains: `evaluate`, the callback, and their result.

A call is captured (`capture`), scored and saved in the journal (`run.pipeline`, `journal`), and
written to MLflow in the background (`tracking`). The journal is the only state.

Modules:
    evaluate: `evaluate()`, which invokes a model for each record of a dataset.
    callback: `EvaluationCallbackHandler`, which evaluates the calls of a running chain.
    result: `EvaluationResult`, read from a journal.
    mlflow_plugin: the evaluator ``dbx-eval`` of `mlflow.models.evaluate`.
    capture: what a chain does, from LangChain callbacks.
    spark: `evaluate()` on the tasks of a Spark session.
    run: one run of `evaluate()`: invoking, scheduling, scoring, progress, Ctrl-C.
    online: the callback in production: which calls become rows, matching, queue, session.
    journal: the durable state of an evaluation, its file format and its migrations.
    tracking: writing a journal's rows to MLflow.
"""

from langchain_dbx_eval.evaluation.callback import CallbackOptions, EvaluationCallbackHandler
from langchain_dbx_eval.evaluation.evaluate import EvaluationOptions, evaluate
from langchain_dbx_eval.evaluation.journal.listing import EvaluationInfo, list_evaluations
from langchain_dbx_eval.evaluation.result import EvaluationResult
from langchain_dbx_eval.evaluation.spark import SparkEvaluationResult, SparkOptions

__all__ = [
    "CallbackOptions",
    "EvaluationCallbackHandler",
    "EvaluationInfo",
    "EvaluationOptions",
    "EvaluationResult",
    "SparkEvaluationResult",
    "SparkOptions",
    "evaluate",
    "list_evaluations",
]
