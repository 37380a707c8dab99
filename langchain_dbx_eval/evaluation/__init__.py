"""Runs a chain over a dataset, or listens to one that runs; scores it, and keeps what came out.

What users call:

- `runner`: `evaluate`. `callback`: `EvaluationCallbackHandler`. `results`: `EvaluationResult`.
- `mlflow_plugin`: the same from `mlflow.models.evaluate`.

How a row comes about:

- `models`: whatever can be evaluated, as a Runnable. `asking` asks it one question, `row_loop`
  takes every row through. `interruption` and `progress`: the person at the keyboard.
- `events`: what LangChain tells. `capture` puts it together as a call; `token_usage` and
  `mlflow_tracer` read parts of it. `sampling`, `backlog`, `joining`, `session`: a callback's calls.
- `pipeline`: from answer to scored row.

Where it is kept:

- `journal`: the one file that holds an evaluation; `rows`: what is in it; `journal_json`: how.
- `subject` and `fingerprint`: what an evaluation is of, and whether that is still the same.
  `rearranging`: what was answered before, where it belongs now.

How it comes to MLflow:

- `writer`: in the background, then the rest. `destination`: where to.
- `mlflow_runs`: one run; `traces`, `mlflow_traces`, `mlflow_assessments`, `sql_store`: its rows.
  `store_access`: failing fast, trying again.
"""

from langchain_dbx_eval.evaluation.callback import EvaluationCallbackHandler
from langchain_dbx_eval.evaluation.evaluate import evaluate
from langchain_dbx_eval.evaluation.result import EvaluationResult

__all__ = ["EvaluationCallbackHandler", "EvaluationResult", "evaluate"]
