"""Writes an evaluation that is done to MLflow, all at once."""

from __future__ import annotations

from uuid import uuid4

from langchain_dbx_eval._extras import require
from langchain_dbx_eval.errors import TrackingError
from langchain_dbx_eval.evaluation.mlflow_runs import TABLE_FILE, MlflowRun
from langchain_dbx_eval.evaluation.results import EvaluationResult
from langchain_dbx_eval.evaluation.store_access import tracking_error
from langchain_dbx_eval.evaluation.traces import WrittenRow, own_trace_id

__all__ = ["TABLE_FILE", "log_evaluation"]


def log_evaluation(
    result: EvaluationResult, *, run_name: str | None, experiment: str | None
) -> EvaluationResult:
    """Write an evaluation to MLflow.

    Args:
        result: What was found.
        run_name: The run's name, where none is active.
        experiment: The experiment, where none is active; default: MLflow's current one.

    Returns:
        The same result with its run's and traces' ids.

    Raises:
        TrackingError: MLflow refused, or could not be reached; it carries the result.
    """
    evaluation_id = uuid4().hex
    try:
        run = _run(run_name, experiment, evaluation_id)
        if result.dataset is not None:
            run.log_dataset(result.dataset.mlflow_input())
        rows = [
            WrittenRow(row=row, trace_id=own_trace_id(row.run, evaluation_id, row.number))
            for row in result.rows
        ]
        logged = EvaluationResult(
            result.rows,
            dataset=result.dataset,
            run_id=run.run_id,
            experiment_id=run.experiment_id,
            trace_ids=run.write_rows(rows),
        )
        run.finish(logged.metrics, logged.tables["eval_results"])
    except TrackingError as error:
        error.result = result
        raise
    return logged


def _run(run_name: str | None, experiment: str | None, evaluation_id: str) -> MlflowRun:
    """The active run, as `mlflow.evaluate` logs to it, or a new one."""
    mlflow = require("mlflow", extra="eval")
    tracking_uri = mlflow.get_tracking_uri()
    if (active := mlflow.active_run()) is not None:
        return MlflowRun.attach(tracking_uri=tracking_uri, run_id=active.info.run_id)
    try:
        experiment_id = _experiment_id(experiment)
    except Exception as error:
        # A store fails in its own ways (SQLAlchemy's, requests'), which MLflow lets through.
        raise tracking_error(tracking_uri, error) from error
    return MlflowRun.begin(
        tracking_uri=tracking_uri,
        experiment_id=experiment_id,
        run_name=run_name,
        evaluation_id=evaluation_id,
    )


def _experiment_id(experiment: str | None) -> str:
    import mlflow
    from mlflow.tracking.fluent import _get_experiment_id

    if experiment is not None:
        return str(mlflow.set_experiment(experiment).experiment_id)
    return str(_get_experiment_id())
