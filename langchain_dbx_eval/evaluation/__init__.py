"""Runs an evaluation: what the chain did is captured, scored, and told to MLflow.

- `capture`: the runs that a chain reports, put together by their ids.
- `events`: LangChain's events, told to a capture.
- `mlflow_tracer`: the trace that MLflow's own tracer makes of the same call.
- `callback`: `EvaluationCallbackHandler`, which listens to any chain.
- `sampling`: which calls it looks at.
- `backlog`: those that have ended and are not scored yet.
- `joining`: the record that a call is about.
- `token_usage`: the tokens that a model says it took.
- `models`: whatever can be evaluated, as a Runnable with its input.
- `session`: the rows of one evaluation, from captured run to scores.
- `runner`: `evaluate()`, which asks the chain itself.
- `results`: `EvaluationResult`, which is what users look at.
- `tracking`: writes an evaluation to MLflow.
- `mlflow_runs`: a run of an MLflow store, written to in batches, as often as need be.
- `mlflow_traces`, `traces`: rows as traces; `mlflow_assessments`, `sql_store`: what is said of
  them; `store_access`: how a store that is down or busy is met.
- `mlflow_plugin`: `evaluate()` as an evaluator of `mlflow.models.evaluate`.
"""

from langchain_dbx_eval.evaluation.callback import EvaluationCallbackHandler
from langchain_dbx_eval.evaluation.results import EvaluationResult
from langchain_dbx_eval.evaluation.runner import evaluate

__all__ = ["EvaluationCallbackHandler", "EvaluationResult", "evaluate"]
