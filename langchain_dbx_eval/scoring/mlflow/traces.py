"""Outcomes from MLflow traces, and traces for the scorers that require one."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from langchain_dbx_eval._internal.imports import require
from langchain_dbx_eval.datasets import EvalRecord
from langchain_dbx_eval.datasets.record import doc_uri_of
from langchain_dbx_eval.errors import SchemaError
from langchain_dbx_eval.scoring.answer_text import to_plain_json
from langchain_dbx_eval.scoring.context import Outcome, ScoringContext
from langchain_dbx_eval.scoring.conversation import recorded_tool_calls

if TYPE_CHECKING:
    from mlflow.entities import Trace

__all__ = [
    "SESSION",
    "outcome_of_record",
    "outcome_of_trace",
    "parse_trace",
    "session_of",
    "tool_calls_of",
    "trace_of",
]

SESSION = "mlflow.trace.session"
"""MLflow's metadata key of a trace for the session to which it belongs."""

_NO_RESPONSE = (
    "This row has no response (neither 'response' nor 'trace'), and no model was given to invoke."
)


def outcome_of_record(record: EvalRecord) -> Outcome:
    """Return the recorded outcome of a record: its own columns, completed from its trace.

    Returns:
        The outcome; one with an error if the record has no response.
    """
    try:
        traced = Outcome() if record.trace is None else outcome_of_trace(record.trace)
    except SchemaError as error:
        traced = Outcome(error=str(error))
    response = record.response if record.response is not None else traced.response
    retrieved = record.retrieved_context
    return Outcome(
        response=response,
        retrieved_context=retrieved if retrieved is not None else traced.retrieved_context,
        latency_seconds=traced.latency_seconds,
        input_tokens=traced.input_tokens,
        output_tokens=traced.output_tokens,
        error=(traced.error or _NO_RESPONSE) if response is None else None,
    )


def outcome_of_trace(trace: Any) -> Outcome:
    """Return the outcome that a trace recorded.

    Args:
        trace: An MLflow trace, its dict, or its JSON.

    Returns:
        The outputs of the root span, the documents of the retriever spans, tokens and latency.

    Raises:
        SchemaError: `trace` is not an MLflow trace.
        MissingDependencyError: MLflow is not installed.
    """
    parsed = parse_trace(trace)
    retrievals = [span for span in parsed.data.spans if span.span_type == "RETRIEVER"]
    chunks = [_chunk(doc) for span in retrievals for doc in _documents(span.outputs)]
    tokens = getattr(parsed.info, "token_usage", None) or {}
    milliseconds = parsed.info.execution_duration
    return Outcome(
        response=next((s.outputs for s in parsed.data.spans if s.parent_id is None), None),
        retrieved_context=chunks if retrievals else None,
        latency_seconds=None if milliseconds is None else milliseconds / 1000,
        input_tokens=tokens.get("input_tokens"),
        output_tokens=tokens.get("output_tokens"),
    )


def trace_of(context: ScoringContext) -> Trace:
    """Return the trace of a row.

    Returns:
        That of the captured call, with its inputs, outputs and steps; else that of the record; else
        a created one, which no store contains: a root span with request and response, a retriever
        span if documents were retrieved, and a tool span for each recorded tool call.
    """
    if context.make_trace is not None:
        trace: Trace = context.make_trace()
        return trace
    record, outcome = context.record, context.outcome
    if record.trace is not None:
        return parse_trace(record.trace)
    trace_id = "tr-" + hashlib.sha256(repr(context).encode("utf-8", "replace")).hexdigest()[:32]
    response = to_plain_json(outcome.response)
    root = _span(trace_id, "response", "CHAIN", to_plain_json(record.inputs), response)
    spans = [root]
    if outcome.retrieved_context is not None:
        documents = [
            {
                "page_content": chunk.get("content") or "",
                "metadata": {"doc_uri": chunk.get("doc_uri")},
            }
            for chunk in outcome.retrieved_context
        ]
        spans.append(_span(trace_id, "retriever", "RETRIEVER", context.request_text, documents))
    for call in recorded_tool_calls(record.metadata.get("tool_calls"), response):
        name, arguments = call["name"], call["arguments"]
        spans.append(_span(trace_id, name, "TOOL", arguments, call["result"], number=len(spans)))
    for span in spans[1:]:
        span["parent_id"] = root["context"]["span_id"]
    session = record.metadata.get("session_id") or record.metadata.get(SESSION)
    info = {
        "trace_id": trace_id,
        "trace_location": {
            "type": "MLFLOW_EXPERIMENT",
            "mlflow_experiment": {"experiment_id": "0"},
        },
        "request_time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "state": "OK",
        "trace_metadata": {SESSION: str(session)} if session else {},
    }
    created: Trace = require("mlflow.entities", extra="eval").Trace.from_dict(
        {"info": info, "data": {"spans": spans}}
    )
    return created


def session_of(context: ScoringContext) -> str | None:
    """Return the session of a row.

    It is the record's ``session_id`` or ``mlflow.trace.session``, else that of the row's trace.
    """
    metadata = context.record.metadata
    session = metadata.get("session_id") or metadata.get(SESSION)
    return str(session) if session else trace_of(context).info.trace_metadata.get(SESSION)


def tool_calls_of(context: ScoringContext) -> list[dict[str, Any]]:
    """Return the tool calls of a row in their order: ``{"name", "arguments", "result"}``.

    They are the tool spans of its trace, or the record's ``tool_calls``.
    """
    spans = [span for span in trace_of(context).data.spans if span.span_type == "TOOL"]
    return [
        {"name": span.name, "arguments": span.inputs, "result": span.outputs}
        for span in sorted(spans, key=lambda span: span.start_time_ns)
    ]


def parse_trace(trace: Any) -> Trace:
    """Return an MLflow trace, from its dict or its JSON.

    Raises:
        SchemaError: `trace` is not an MLflow trace.
    """
    entities = require("mlflow.entities", extra="eval")
    if isinstance(trace, entities.Trace):
        return trace  # type: ignore[no-any-return]
    try:
        if isinstance(trace, str):
            return entities.Trace.from_json(trace)  # type: ignore[no-any-return]
        return entities.Trace.from_dict(trace)  # type: ignore[no-any-return]
    except Exception as error:
        msg = f"Column 'trace': expected an MLflow trace or its JSON ({error})."
        raise SchemaError(msg) from error


def _documents(outputs: Any) -> list[Mapping[str, Any]]:
    documents = outputs if isinstance(outputs, list) else []
    return [document for document in documents if isinstance(document, Mapping)]


def _chunk(document: Mapping[str, Any]) -> dict[str, Any]:
    metadata = document.get("metadata") or {}
    content = document.get("page_content") or document.get("content")
    return {"doc_uri": doc_uri_of(metadata), "content": content}


def _span(
    trace_id: str, name: str, span_type: str, inputs: Any, outputs: Any, *, number: int = 0
) -> dict[str, Any]:
    """Return a finished span in the form of `mlflow.entities.Span.from_dict` (MLflow 3.17)."""
    now = time.time_ns()
    identity = f"{name}/{number}" if number else name
    attributes = {
        "mlflow.traceRequestId": trace_id,
        "mlflow.spanType": span_type,
        "mlflow.spanInputs": inputs,
        "mlflow.spanOutputs": outputs,
    }
    return {
        "name": name,
        "context": {
            "span_id": "0x" + hashlib.sha256(identity.encode()).hexdigest()[:16],
            "trace_id": "0x" + trace_id.removeprefix("tr-"),
        },
        "parent_id": None,
        "start_time": now,
        "end_time": now,
        "status_code": "OK",
        "status_message": "",
        "attributes": {key: json.dumps(value, default=str) for key, value in attributes.items()},
        "events": [],
    }
