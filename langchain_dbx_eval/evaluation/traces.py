"""Captured runs as MLflow traces.

All traces of an evaluation are written in one call of MLflow's tracing client: about 3 ms a trace,
where its public span API needs 50 ms and 5 commits (research/mlflow.md, section 6). That client is
internal to MLflow, so a store or version that refuses it gets the traces through the public API.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from langchain_core.documents import Document
from langchain_core.messages import BaseMessage, convert_to_openai_messages

from langchain_dbx_eval.evaluation.capture import CapturedRun, Span
from langchain_dbx_eval.evaluation.results import Row

if TYPE_CHECKING:
    from mlflow.entities import LiveSpan
    from mlflow.entities import Span as MlflowSpan

__all__ = ["plain", "write_traces"]

_logger = logging.getLogger(__name__)

_REQUEST_ID_TAG = "mlflow.eval.requestId"
# A root span's attribute of this prefix becomes a tag of its trace (MLflow 3.17, the OTLP path).
_TAG_PREFIX = "mlflow.traceTag."


def write_traces(rows: Sequence[Row], experiment_id: str) -> list[str]:
    """Write a trace for each row.

    Args:
        rows: The rows of an evaluation.
        experiment_id: The MLflow experiment to write to.

    Returns:
        The traces' ids, in the order of the rows.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.tracing.client import TracingClient

    runs = [row.run or _run_of_answer(row) for row in rows]
    traces = [list(_spans_of(run, row)) for run, row in zip(runs, rows, strict=True)]
    try:
        TracingClient().log_spans(experiment_id, [span for trace in traces for span in trace])
    except (MlflowException, NotImplementedError, AttributeError, TypeError) as error:
        _logger.debug("MLflow refused spans in one call, so they go one by one: %s", error)
        return _write_one_by_one(runs, rows, experiment_id)
    return [trace[0].trace_id for trace in traces]


def plain(value: Any) -> Any:
    """A step's input or output as plain JSON, in the forms that MLflow's UI knows."""
    if isinstance(value, BaseMessage):
        return convert_to_openai_messages(value)
    if isinstance(value, Document):
        return {"page_content": value.page_content, "metadata": plain(value.metadata)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _run_of_answer(row: Row) -> CapturedRun:
    """A trace for a row that was not run: its request and the answer that the data carried."""
    now = time.time_ns()
    span = Span(
        run_id=uuid4(),
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


def _spans_of(run: CapturedRun, row: Row) -> Iterator[MlflowSpan]:
    from mlflow.entities import Span as MlflowSpan
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext, Status, StatusCode

    trace = secrets.randbits(128) or 1
    contexts = {
        span.run_id: SpanContext(trace, secrets.randbits(64) or 1, is_remote=False)
        for span in run.spans
    }
    for span in run.spans:
        attributes = {
            "mlflow.traceRequestId": f"tr-{trace:032x}",
            "mlflow.spanType": span.kind,
            "mlflow.spanInputs": plain(span.inputs),
            "mlflow.spanOutputs": plain(span.outputs),
            **_further_attributes(span),
        }
        if span is run.root:
            attributes[_TAG_PREFIX + _REQUEST_ID_TAG] = row.record.request_id
            attributes[_TAG_PREFIX + "mlflow.traceName"] = span.name
        failed = span.error is not None
        yield MlflowSpan(
            ReadableSpan(
                name=span.name,
                context=contexts[span.run_id],
                parent=contexts.get(span.parent_id) if span.parent_id else None,
                attributes={k: json.dumps(v, ensure_ascii=False) for k, v in attributes.items()},
                status=Status(StatusCode.ERROR if failed else StatusCode.OK, span.error),
                start_time=span.start_ns,
                end_time=span.end_ns,
            )
        )


def _further_attributes(span: Span) -> dict[str, Any]:
    attributes: dict[str, Any] = {}
    if span.error is not None:
        attributes["error"] = span.error
    if span.input_tokens is not None or span.output_tokens is not None:
        read, written = span.input_tokens or 0, span.output_tokens or 0
        attributes["mlflow.chat.tokenUsage"] = {
            "input_tokens": read,
            "output_tokens": written,
            "total_tokens": read + written,
        }
    return attributes


def _write_one_by_one(
    runs: Iterable[CapturedRun], rows: Iterable[Row], experiment_id: str
) -> list[str]:
    import mlflow

    trace_ids = [_write_one(run, row, experiment_id) for run, row in zip(runs, rows, strict=True)]
    # The public API exports in the background; an assessment needs its trace in the store.
    mlflow.flush_trace_async_logging()
    return trace_ids


def _write_one(run: CapturedRun, row: Row, experiment_id: str) -> str:
    import mlflow

    live: dict[Any, LiveSpan] = {}
    for span in run.spans:
        parent = live.get(span.parent_id)
        live[span.run_id] = mlflow.start_span_no_context(
            span.name,
            span_type=span.kind,
            parent_span=parent,
            inputs=plain(span.inputs),
            # MLflow takes these two for a trace's root alone.
            tags=None if parent else {_REQUEST_ID_TAG: row.record.request_id},
            experiment_id=None if parent else experiment_id,
            start_time_ns=span.start_ns,
        )
        live[span.run_id].set_attributes(_further_attributes(span))
    # The root last: when it ends, the trace is complete and exported.
    for span in reversed(run.spans):
        live[span.run_id].end(
            outputs=plain(span.outputs),
            status="ERROR" if span.error is not None else "OK",
            end_time_ns=span.end_ns,
        )
    return live[run.root.run_id].trace_id
