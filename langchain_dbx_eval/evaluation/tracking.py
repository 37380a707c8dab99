"""Writes an evaluation to MLflow: one run, a trace for each row, the table, the dataset.

The tags and attributes are those that MLflow's own `mlflow.genai.evaluate` leaves, so that its UI
lists the run under "Evaluation runs" (seen in MLflow 3.17).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from langchain_dbx_eval._extras import require
from langchain_dbx_eval.errors import TrackingError
from langchain_dbx_eval.evaluation.results import EvaluationResult, Row
from langchain_dbx_eval.evaluation.traces import plain, write_traces
from langchain_dbx_eval.scoring import Assessment

if TYPE_CHECKING:
    from mlflow import ActiveRun

__all__ = ["TABLE_FILE", "log_evaluation"]

TABLE_FILE = "eval_results.json"
"""The artifact that holds ``tables["eval_results"]``, under Agent Evaluation's name."""


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
    mlflow = require("mlflow", extra="eval")
    try:
        return _log(result, run_name, experiment)
    except Exception as error:
        # A store fails in its own ways (SQLAlchemy's, requests'), which MLflow lets through.
        msg = (
            f"The evaluation is done, but MLflow at {mlflow.get_tracking_uri()} could not be "
            f"written to: {error}. The result is this error's `result`."
        )
        raise TrackingError(msg, result=result) from error


def _log(
    result: EvaluationResult, run_name: str | None, experiment: str | None
) -> EvaluationResult:
    import mlflow

    with _run(run_name, experiment) as run:
        run_id = run.info.run_id
        mlflow.set_tags({"mlflow.runType": "genai_evaluate"})
        if result.dataset is not None:
            mlflow.log_input(result.dataset.mlflow_input(), context="evaluation")
        trace_ids = write_traces(result.rows, run.info.experiment_id)
        if trace_ids:
            mlflow.MlflowClient().link_traces_to_run(trace_ids, run_id)
        for row, trace_id in zip(result.rows, trace_ids, strict=True):
            _log_assessments(row, trace_id, run_id)
        logged = EvaluationResult(
            result.rows,
            dataset=result.dataset,
            run_id=run_id,
            experiment_id=run.info.experiment_id,
            trace_ids=trace_ids,
        )
        mlflow.log_metrics(logged.metrics)
        mlflow.log_table(logged.tables["eval_results"], TABLE_FILE)
    return logged


@contextmanager
def _run(run_name: str | None, experiment: str | None) -> Iterator[ActiveRun]:
    """The active run, as `mlflow.evaluate` logs to it, or a new one."""
    import mlflow

    if (active := mlflow.active_run()) is not None:
        yield active
        return
    experiment_id = None
    if experiment is not None:
        experiment_id = mlflow.set_experiment(experiment).experiment_id
    with mlflow.start_run(run_name=run_name, experiment_id=experiment_id) as run:
        yield run


def _log_assessments(row: Row, trace_id: str, run_id: str) -> None:
    import mlflow

    source = {"mlflow.assessment.sourceRunId": run_id}
    for assessment in row.assessments:
        mlflow.log_feedback(
            trace_id=trace_id,
            name=assessment.name,
            value=assessment.value,
            error=_assessment_error(assessment),
            rationale=assessment.rationale,
            source=_assessment_source(assessment),
            metadata={**source, **assessment.metadata, **_judge_cost(assessment)},
        )
    if row.matched:
        for name, value in row.record.expectations.items():
            mlflow.log_expectation(
                trace_id=trace_id, name=name, value=plain(value), metadata=source
            )


def _assessment_source(assessment: Assessment) -> Any:
    from mlflow.entities import AssessmentSource

    by = assessment.metadata.get("judge_model", "langchain-dbx-eval")
    return AssessmentSource(source_type=assessment.source, source_id=by)


def _judge_cost(assessment: Assessment) -> dict[str, str]:
    """What a judge took, under the names that MLflow gives it for its own judges."""
    usage = assessment.usage
    if usage is None:
        return {}
    told = {
        "mlflow.assessment.judgeInputTokens": usage.input_tokens,
        "mlflow.assessment.judgeOutputTokens": usage.output_tokens,
        "mlflow.assessment.judgeCost": usage.cost_usd,
    }
    return {name: str(value) for name, value in told.items() if value is not None}


def _assessment_error(assessment: Assessment) -> Any:
    from mlflow.entities import AssessmentError

    if assessment.error is None:
        return None
    return AssessmentError(error_code="SCORER_ERROR", error_message=assessment.error)
