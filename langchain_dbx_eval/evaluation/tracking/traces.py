"""Rows as MLflow traces: their ids and spans, and how they are written.

The ids are derived from the row, so a row that is written twice, because the process died before it
saved that the row was written, is one trace.

All traces of a batch are written in one call of MLflow's tracing client; its public span API takes
a call and several commits per span. That client is internal to MLflow: a store or version that
rejects the call (Databricks, an older server) receives one trace at a time, in the form that
MLflow's own exporter sends.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_OID, UUID, uuid5

from langchain_dbx_eval._internal.deadline import Deadline
from langchain_dbx_eval._internal.log import get_logger
from langchain_dbx_eval.datasets import record_key
from langchain_dbx_eval.evaluation.capture.spans import (
    CapturedRun,
    Span,
    exception_attributes,
    mlflow_token_usage,
)
from langchain_dbx_eval.evaluation.journal.rows import Row
from langchain_dbx_eval.evaluation.tracking.store_access import call_for_each, is_transient
from langchain_dbx_eval.scoring.answer_text import to_plain_json
from langchain_dbx_eval.scoring.mlflow.traces import SESSION

if TYPE_CHECKING:
    from mlflow.entities import Span as MlflowSpan
    from mlflow.entities import Trace
    from mlflow.tracing.client import TracingClient
    from opentelemetry.sdk.trace import Event

__all__ = ["REQUEST_ID_TAG", "trace_id_of", "trace_of_row", "write_traces"]

_logger = get_logger(__name__)

_AUTOLOG_TIMEOUT_S = 10
_POLL_INTERVAL_S = 0.2
_MAX_PREVIEW = 1000

REQUEST_ID_TAG = "mlflow.eval.requestId"
"""The tag by which `mlflow.genai.compare_evaluations` pairs the rows of two runs."""

# A root span's attribute with this prefix becomes a tag of its trace (MLflow 3.17, OTLP endpoint).
_TAG_PREFIX = "mlflow.traceTag."

TAGS_TAG = "langchain.tags"
"""The tag of a trace with the `tags` of the call's config, as a JSON list."""

_TAG_NAME = re.compile(r"[\w\-. :/]{1,250}")
_MAX_TAG_VALUE = 8000
# Metadata that LangChain and LangGraph add, and what is in a trace under another name.
_HIDDEN_METADATA = ("ls_", "lc_", "langgraph_", "mlflow.", "request_id")


def write_traces(
    client: TracingClient, rows: Sequence[Row], evaluation_id: str, experiment_id: str
) -> list[str]:
    """Write a trace for each row that has none.

    Rows that MLflow traced while the model ran keep these traces, and rows of an evaluation of
    traces theirs; they get the row's tags.

    Args:
        client: The store.
        rows: The rows.
        evaluation_id: The evaluation, for the ids of traces.
        experiment_id: The MLflow experiment to write to.

    Returns:
        The ids of the traces, in the order of the rows.
    """
    existing = _tag_existing(client, rows)
    trace_ids: list[str] = []
    new: list[tuple[Row, list[MlflowSpan]]] = []
    for row in rows:
        trace_id = row.run.trace_id if row.run else row.record.trace_id
        if trace_id is None or trace_id not in existing:
            trace_id = trace_id_of(row, evaluation_id)
            new.append((row, list(_spans(row, trace_id))))
        trace_ids.append(trace_id)
    if new:
        _write(client, new, experiment_id)
    return trace_ids


def trace_id_of(row: Row, evaluation_id: str) -> str:
    """Return the id of the trace that we write for a row, always the same for the same row.

    Args:
        row: The row.
        evaluation_id: The evaluation, for a row without a captured call.

    Returns:
        ``tr-`` and 32 hexadecimal digits: the run id of the call, or a hash.
    """
    if row.run is not None:
        return f"tr-{row.run.root.run_id.hex}"
    # With the request: after a resume with another dataset, the key may have another request.
    name = f"{evaluation_id}/{record_key(row.record.request)}/{row.number}/{row.repetition}"
    return f"tr-{uuid5(NAMESPACE_OID, name).hex}"


def trace_of_row(row: Row, evaluation_id: str) -> Trace:
    """Return the trace that `write_traces` would write for a row, without writing it."""
    return _trace(row, list(_spans(row, trace_id_of(row, evaluation_id))), "0")


def _session_of(row: Row) -> str | None:
    """Return the session of a row: that of its call's config, else that of its record."""
    sources = (row.run.metadata if row.run is not None else {}, row.record.metadata)
    ids = (source.get(key) for source in sources for key in (SESSION, "session_id"))
    return next((str(session) for session in ids if session), None)


def _tag_existing(client: TracingClient, rows: Sequence[Row]) -> set[str]:
    """Find the traces of rows that exist or that MLflow is writing, and tag them.

    Returns:
        The ids of those that are in the store.
    """
    expected = {row.run.trace_id: row for row in rows if row.run and row.run.trace_id}
    # Those of the data exist already, or they are in another store.
    recorded = {row.record.trace_id: row for row in rows if not row.run and row.record.trace_id}
    found = recorded.keys() - _find_missing(client, recorded)
    if expected:
        found |= _wait_for(client, expected)
    of_row = {**recorded, **expected}
    call_for_each(
        lambda tag: client.set_trace_tag(*tag),
        [(id_, *tag) for id_ in found for tag in _tags_of(of_row[id_]).items()],
    )
    return found


def _wait_for(client: TracingClient, trace_ids: Collection[str]) -> set[str]:
    """Wait for traces that MLflow is writing; return the ids of those that are in the store."""
    import mlflow

    mlflow.flush_trace_async_logging()
    # Flushing does not wait for the last span of a call, which may end after the evaluation's
    # callback ran.
    deadline = Deadline(_AUTOLOG_TIMEOUT_S)
    while (missing := _find_missing(client, trace_ids)) and not deadline.passed:
        deadline.sleep(_POLL_INTERVAL_S)
    if missing:
        _logger.warning(
            "%d of %d traces that MLflow started are not in the store, for example %s (see "
            "MLflow's log). The evaluation writes traces for their rows.",
            len(missing),
            len(trace_ids),
            min(missing),
        )
    return {*trace_ids} - missing


def _find_missing(client: TracingClient, trace_ids: Iterable[str]) -> set[str]:
    from mlflow.exceptions import MlflowException

    def missing(trace_id: str) -> str | None:
        try:
            # The client's own method also finds traces that are still in memory.
            client.store.get_trace_info(trace_id)
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"):
                raise
            return trace_id
        return None

    return set(filter(None, call_for_each(missing, list(trace_ids))))


def _write(
    client: TracingClient, traces: Sequence[tuple[Row, list[MlflowSpan]]], experiment_id: str
) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.log_spans(experiment_id, [span for _, spans in traces for span in spans])
    except (MlflowException, NotImplementedError, AttributeError, TypeError) as error:
        if is_transient(error):
            raise
        _logger.info("MLflow's store rejects spans of many traces in one call: %s", error)
        call_for_each(lambda trace: _write_one(client, *trace, experiment_id), traces)


def _write_one(
    client: TracingClient, row: Row, spans: list[MlflowSpan], experiment_id: str
) -> None:
    """Write a trace as MLflow 3.17's exporter does (`mlflow.tracing.export.mlflow_v3`)."""
    trace = _trace(row, spans, experiment_id)
    client._upload_trace_data(client.start_trace(trace.info), trace.data)


def _trace(row: Row, spans: list[MlflowSpan], experiment_id: str) -> Trace:
    from mlflow.entities import Trace, TraceData, TraceInfo, TraceLocation, TraceState

    root = spans[0]
    start_ms, end_ms = root.start_time_ns // 1_000_000, (root.end_time_ns or 0) // 1_000_000
    metadata = {"mlflow.trace_schema.version": "3"}
    usage = mlflow_token_usage(row.outcome)
    if usage["total_tokens"]:
        metadata["mlflow.trace.tokenUsage"] = json.dumps(usage)
    if session := _session_of(row):
        metadata[SESSION] = session
    info = TraceInfo(
        trace_id=root.trace_id,
        trace_location=TraceLocation.from_experiment_id(experiment_id),
        request_time=start_ms,
        execution_duration=end_ms - start_ms,
        state=TraceState.OK if row.outcome.error is None else TraceState.ERROR,
        request_preview=_preview(root.inputs),
        response_preview=None if row.outcome.error is not None else _preview(root.outputs),
        tags={**_tags_of(row), "mlflow.traceName": root.name},
        trace_metadata=metadata,
    )
    return Trace(info=info, data=TraceData(spans=spans))


def _preview(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text[:_MAX_PREVIEW]


def _tags_of(row: Row) -> dict[str, str]:
    """Return the tags of a row's trace: its request id, and the config of its call.

    MLflow 3.17 has no call that writes many traces with metadata of their own, so the `metadata` of
    the config is stored as tags too.
    """
    tags = {REQUEST_ID_TAG: _request_id_of(row)}
    if row.run is None:
        return tags
    if row.run.tags:
        tags[TAGS_TAG] = json.dumps(list(row.run.tags), ensure_ascii=False)
    for name, value in row.run.metadata.items():
        if _TAG_NAME.fullmatch(name) and not name.startswith(_HIDDEN_METADATA):
            text = value if isinstance(value, str) else json.dumps(to_plain_json(value))
            tags[name] = text[:_MAX_TAG_VALUE]
    return tags


def _request_id_of(row: Row) -> str:
    """Return the value of `REQUEST_ID_TAG`: the record's id; for further repetitions ``q1#2``."""
    request_id = row.record.request_id
    return request_id if row.repetition == 1 else f"{request_id}#{row.repetition}"


def _run_of_recorded_answer(row: Row, trace_id: str) -> CapturedRun:
    now = time.time_ns()
    span = Span(
        run_id=UUID(hex=trace_id.removeprefix("tr-")),
        parent_id=None,
        kind="CHAIN",
        name="response",
        inputs=row.record.request,
        outputs=row.outcome.response,
        error=row.outcome.error,
        start_ns=now,
        end_ns=now,
    )
    return CapturedRun((span,))


def _spans(row: Row, trace_id: str) -> Iterator[MlflowSpan]:
    """Yield the spans of a row's trace, the root first.

    A row without a captured call has one span: its request, and the response of its record.
    """
    from mlflow.entities import Span as MlflowSpan
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext, Status, StatusCode

    run = row.run or _run_of_recorded_answer(row, trace_id)
    trace = int(trace_id.removeprefix("tr-"), 16)
    # The id of a span: the 64 bits that are random in every UUID version; 0 is not valid.
    contexts = {
        span.run_id: SpanContext(trace, span.run_id.int & (2**64 - 1) or 1, is_remote=False)
        for span in run.spans
    }
    # Without a resource, OpenTelemetry collects the attributes of this process for each span.
    resource = Resource.get_empty()
    for span in run.spans:
        attributes = _attributes(span, trace_id)
        if span is run.root:
            attributes |= {_TAG_PREFIX + name: value for name, value in _tags_of(row).items()}
            attributes[_TAG_PREFIX + "mlflow.traceName"] = span.name
            if session := _session_of(row):
                attributes["session.id"] = session
        yield MlflowSpan(
            ReadableSpan(
                name=span.name,
                context=contexts[span.run_id],
                parent=contexts.get(span.parent_id) if span.parent_id else None,
                resource=resource,
                attributes={k: json.dumps(v, ensure_ascii=False) for k, v in attributes.items()},
                status=Status(
                    StatusCode.OK if span.error is None else StatusCode.ERROR, span.error
                ),
                events=_exception_events(span),
                start_time=span.start_ns,
                end_time=span.end_ns,
            )
        )


def _exception_events(span: Span) -> list[Event]:
    """Return the exception of a step as OpenTelemetry's semantic conventions record it."""
    from opentelemetry.sdk.trace import Event

    if span.traceback is None:
        return []
    return [Event("exception", exception_attributes(span), timestamp=span.end_ns)]


def _attributes(span: Span, trace_id: str) -> dict[str, Any]:
    attributes = {
        "mlflow.traceRequestId": trace_id,
        "mlflow.spanType": span.kind,
        "mlflow.spanInputs": to_plain_json(span.inputs),
    }
    # Without an output, as MLflow's own spans of failed calls: its UI would show "null" as answer.
    if span.error is None or span.outputs is not None:
        attributes["mlflow.spanOutputs"] = to_plain_json(span.outputs)
    if span.error is not None:
        attributes["error"] = span.error
    if span.first_token_ns is not None:
        # MLflow 3.17 has no attribute for it.
        attributes["time_to_first_token_ms"] = (span.first_token_ns - span.start_ns) / 1e6
    if span.input_tokens is not None or span.output_tokens is not None:
        attributes["mlflow.chat.tokenUsage"] = mlflow_token_usage(span)
    return attributes
