"""The scores of a row, and its expectations, as assessments of its MLflow trace.

The id of an assessment is derived from its run, its trace and its name, so an assessment that is
written twice exists once. A store in this process takes all assessments of a batch in one
transaction (`sql_store`); any other store takes them one at a time, so a few threads write them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_OID, uuid5

from langchain_dbx_eval._internal.log import get_logger
from langchain_dbx_eval.evaluation.journal.rows import Row
from langchain_dbx_eval.evaluation.tracking import sql_store
from langchain_dbx_eval.evaluation.tracking.store_access import call_for_each, is_transient
from langchain_dbx_eval.scoring import Assessment
from langchain_dbx_eval.scoring.answer_text import to_plain_json

if TYPE_CHECKING:
    from mlflow.entities import Assessment as MlflowAssessment
    from mlflow.tracing.client import TracingClient

__all__ = ["assessments_of", "delete_feedback", "write_assessments"]

_logger = get_logger(__name__)

# The length of the column in MLflow's store (3.17).
_MAX_NAME = 250
_SOURCE_RUN = "mlflow.assessment.sourceRunId"


def assessments_of(row: Row, trace_id: str, run_id: str) -> list[MlflowAssessment]:
    """Return the scores of a row as feedback, and its expected values as expectations.

    Args:
        row: The row.
        trace_id: The trace of the row.
        run_id: The MLflow run of the evaluation.
    """
    entities = list(_entities(row, trace_id, run_id))
    is_autologged = row.run is not None and trace_id == row.run.trace_id
    span_id = row.run.trace_span_id if row.run is not None and is_autologged else None
    seen: Counter[str] = Counter()
    for assessment in entities:
        kind = "feedback" if assessment.feedback is not None else "expectation"
        # With the row: nested calls may share one trace of MLflow's own tracer.
        identity = f"{run_id}/{trace_id}/{row.number}/{row.repetition}/{kind}/{assessment.name}"
        # With a number: a scorer may assess each document under one name.
        seen[identity] += 1
        assessment.trace_id = trace_id
        assessment.span_id = span_id
        assessment.assessment_id = f"a-{uuid5(NAMESPACE_OID, f'{identity}/{seen[identity]}').hex}"
    return entities


def write_assessments(
    client: TracingClient, assessments: Sequence[MlflowAssessment], *, maybe_written: bool
) -> None:
    """Write assessments of traces that are in the store, each once.

    Args:
        client: The store.
        assessments: The assessments, from `assessments_of`.
        maybe_written: Whether some of them may have been written before. A store that is not in
            this process then needs one more request per trace.
    """
    from mlflow.exceptions import MlflowException

    try:
        if sql_store.insert(client.store, assessments):
            return
    except (ImportError, AttributeError, TypeError, MlflowException) as error:
        if is_transient(error):
            raise
        _logger.info("MLflow's store rejects assessments in one transaction: %s", error)
        maybe_written = True
    by_trace: dict[str, list[MlflowAssessment]] = {}
    for assessment in assessments:
        by_trace.setdefault(str(assessment.trace_id), []).append(assessment)

    def write(trace_id: str) -> None:
        wanted = by_trace[trace_id]
        if maybe_written:
            wanted = _missing(wanted, client.get_trace_info(trace_id).assessments)
        for assessment in wanted:
            client.log_assessment(trace_id, assessment)

    call_for_each(write, list(by_trace))


def delete_feedback(
    client: TracingClient, names: Mapping[str, Collection[str]], run_id: str
) -> None:
    """Delete the feedback that a run wrote; that of users and of other runs stays.

    Args:
        client: The store.
        names: The names of the feedback by the id of its trace. Traces that are not in the store
            are ignored.
        run_id: The MLflow run.
    """
    from mlflow.exceptions import MlflowException

    def delete(trace_id: str) -> None:
        try:
            stored = client.get_trace_info(trace_id).assessments
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"):
                raise
            return
        for assessment in stored:
            is_ours = _run_and_name(assessment)[:2] == (run_id, True)
            is_named = assessment.name in {name[:_MAX_NAME] for name in names[trace_id]}
            if is_ours and is_named and assessment.assessment_id:
                client.delete_assessment(trace_id, assessment.assessment_id)

    call_for_each(delete, list(names))


def _missing(
    wanted: Sequence[MlflowAssessment], stored: Sequence[MlflowAssessment]
) -> list[MlflowAssessment]:
    """Return the assessments that a trace does not have.

    A server may assign ids of its own (Databricks): a stored assessment of this run with an unknown
    id is identified by its name.
    """
    ids = {assessment.assessment_id for assessment in wanted}
    stored_ids = {assessment.assessment_id for assessment in stored}
    renamed = Counter(_run_and_name(a) for a in stored if a.assessment_id not in ids)
    missing = []
    for assessment in wanted:
        if assessment.assessment_id in stored_ids:
            continue
        if renamed[_run_and_name(assessment)] > 0:
            renamed[_run_and_name(assessment)] -= 1
        else:
            missing.append(assessment)
    return missing


def _run_and_name(assessment: MlflowAssessment) -> tuple[str | None, bool, str]:
    run = (assessment.metadata or {}).get(_SOURCE_RUN)
    return run, assessment.feedback is not None, assessment.name


def _entities(row: Row, trace_id: str, run_id: str) -> Iterator[MlflowAssessment]:
    from mlflow.entities import AssessmentError, AssessmentSource, Expectation, Feedback

    source_run = {_SOURCE_RUN: run_id}
    for assessment in row.assessments:
        source = "rater" if assessment.source == "HUMAN" else "judge_model"
        source_id = assessment.metadata.get(source, "langchain-dbx-eval")
        yield Feedback(
            name=assessment.name[:_MAX_NAME],
            value=_json_value(assessment.value),
            error=None
            if assessment.error is None
            else AssessmentError(error_code="SCORER_ERROR", error_message=assessment.error),
            rationale=assessment.rationale,
            source=AssessmentSource(source_type=assessment.source, source_id=source_id),
            metadata={**source_run, **_texts(assessment.metadata), **_judge_usage(assessment)},
        )
    if row.matched:
        logged = _logged_expectations(row.record.trace) if trace_id == row.record.trace_id else {}
        for name, value in row.record.expectations.items():
            if name in logged and logged[name] == value:
                continue  # The trace has it already: the row is one of `mlflow.search_traces`.
            yield Expectation(name=name, value=_json_value(value), metadata=dict(source_run))


def _logged_expectations(trace: Any) -> dict[str, Any]:
    """Return the expectations that were logged on an MLflow trace, or on its dict."""
    from mlflow.entities import Trace

    if not isinstance(trace, Trace):
        try:
            trace = Trace.from_json(trace) if isinstance(trace, str) else Trace.from_dict(trace)
        except Exception:  # MLflow raises what the form of the JSON leads to
            return {}
    found = trace.search_assessments(type="expectation")
    return {expectation.name: expectation.value for expectation in found}


def _json_value(value: Any) -> Any:
    """Return a value that JSON and protobuf can represent; NaN as a string."""
    try:
        if isinstance(value, int | float) and not math.isfinite(value):
            return str(value)
    except OverflowError:  # an integer beyond the range of protobuf's numbers
        return str(value)
    return to_plain_json(value)


def _texts(metadata: Mapping[str, Any]) -> dict[str, str]:
    return {str(name): str(value) for name, value in metadata.items()}


def _judge_usage(assessment: Assessment) -> dict[str, str]:
    """Return the usage of a judge under the names that MLflow gives its own judges."""
    usage = assessment.usage
    if usage is None:
        return {}
    values = {
        "mlflow.assessment.judgeInputTokens": usage.input_tokens,
        "mlflow.assessment.judgeOutputTokens": usage.output_tokens,
        "mlflow.assessment.judgeCost": usage.cost_usd,
    }
    return {name: str(value) for name, value in values.items() if value is not None}
