"""Writes an evaluation to MLflow: one run, a trace for each row, the table, the dataset.

The tags and attributes are those that MLflow's own `mlflow.genai.evaluate` leaves, so that its UI
lists the run under "Evaluation runs" (seen in MLflow 3.17).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from langchain_core.documents import Document
from langchain_core.messages import BaseMessage, convert_to_openai_messages

from langchain_dbx_eval._extras import require
from langchain_dbx_eval.evaluation.capture import CapturedRun
from langchain_dbx_eval.evaluation.results import EvaluationResult, Row
from langchain_dbx_eval.scoring import Assessment

if TYPE_CHECKING:
    from mlflow import ActiveRun
    from mlflow.entities import LiveSpan

__all__ = ["log_evaluation"]

_TABLE_FILE = "eval_results.json"


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
    """
    mlflow = require("mlflow", extra="eval")
    with _run(run_name, experiment) as run:
        run_id = run.info.run_id
        mlflow.set_tags({"mlflow.runType": "genai_evaluate"})
        if result.dataset is not None:
            mlflow.log_input(result.dataset.mlflow_input(), context="evaluation")
        trace_ids = [_log_trace(row, run.info.experiment_id) for row in result.rows]
        # Spans are exported in the background; an assessment needs its trace in the store.
        mlflow.flush_trace_async_logging()
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
        mlflow.log_table(logged.tables["eval_results"], _TABLE_FILE)
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


def _log_trace(row: Row, experiment_id: str) -> str:
    import mlflow

    tags = {"mlflow.eval.requestId": row.record.request_id}
    if row.run is not None:
        return _log_spans(row.run, tags, experiment_id)
    root = mlflow.start_span_no_context(
        "response", inputs=_plain(row.record.request), tags=tags, experiment_id=experiment_id
    )
    root.end(outputs=_plain(row.outcome.response), status="ERROR" if row.outcome.error else "OK")
    return root.trace_id


def _log_spans(run: CapturedRun, tags: dict[str, str], experiment_id: str) -> str:
    import mlflow

    live: dict[Any, LiveSpan] = {}
    for span in run.spans:
        parent = live.get(span.parent_id)
        live[span.run_id] = mlflow.start_span_no_context(
            span.name,
            span_type=span.kind,
            parent_span=parent,
            inputs=_plain(span.inputs),
            # MLflow takes these two for a trace's root alone.
            tags=None if parent else tags,
            experiment_id=None if parent else experiment_id,
            start_time_ns=span.start_ns,
        )
        if span.input_tokens is not None or span.output_tokens is not None:
            read, written = span.input_tokens or 0, span.output_tokens or 0
            live[span.run_id].set_attribute(
                "mlflow.chat.tokenUsage",
                {"input_tokens": read, "output_tokens": written, "total_tokens": read + written},
            )
    # The root last: when it ends, the trace is complete and exported.
    for span in reversed(run.spans):
        if span.error is not None:
            live[span.run_id].set_attribute("error", span.error)
        live[span.run_id].end(
            outputs=_plain(span.outputs),
            status="ERROR" if span.error is not None else "OK",
            end_time_ns=span.end_ns,
        )
    return live[run.root.run_id].trace_id


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
            metadata=source,
        )
    if row.matched:
        for name, value in row.record.expectations.items():
            mlflow.log_expectation(
                trace_id=trace_id, name=name, value=_plain(value), metadata=source
            )


def _assessment_source(assessment: Assessment) -> Any:
    from mlflow.entities import AssessmentSource

    return AssessmentSource(source_type=assessment.source, source_id="langchain-dbx-eval")


def _assessment_error(assessment: Assessment) -> Any:
    from mlflow.entities import AssessmentError

    if assessment.error is None:
        return None
    return AssessmentError(error_code="SCORER_ERROR", error_message=assessment.error)


def _plain(value: Any) -> Any:
    """A step's input or output as plain JSON, in the forms that MLflow's UI knows."""
    if isinstance(value, BaseMessage):
        return convert_to_openai_messages(value)
    if isinstance(value, Document):
        return {"page_content": value.page_content, "metadata": _plain(value.metadata)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
