"""Evaluated rows as MLflow traces: their ids and their spans. Nothing is written here.

Ids follow from what a row is, not from chance: a row that is written twice, because the process
died before it could note that it was written, is one trace.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_OID, UUID, uuid5

from langchain_core.documents import Document
from langchain_core.messages import BaseMessage, convert_to_openai_messages

from langchain_dbx_eval.datasets import record_key
from langchain_dbx_eval.evaluation.capture.recorder import CapturedRun, Span
from langchain_dbx_eval.evaluation.journal.rows import Row

if TYPE_CHECKING:
    from mlflow.entities import Span as MlflowSpan

__all__ = ["REQUEST_ID_TAG", "WrittenRow", "own_trace_id", "plain", "spans_of", "written_row"]

REQUEST_ID_TAG = "mlflow.eval.requestId"
"""The tag by which `mlflow.genai.compare_evaluations` pairs the rows of two runs."""

# A root span's attribute of this prefix becomes a tag of its trace (MLflow 3.17, the OTLP path).
_TAG_PREFIX = "mlflow.traceTag."


@dataclass(frozen=True, kw_only=True)
class WrittenRow:
    """An evaluated row as it is to be in MLflow.

    Attributes:
        row: The row.
        trace_id: The id of the trace that we write for it, by `own_trace_id`.
    """

    row: Row
    trace_id: str

    @property
    def autolog_id(self) -> str | None:
        """The trace that `mlflow.langchain.autolog` makes of its call, where it does."""
        return self.row.run.trace_id if self.row.run is not None else None

    @property
    def request_id(self) -> str:
        """The record's id; from its second asking on, with its number: ``q1#2``."""
        request_id = self.row.record.request_id
        repetition = self.row.repetition
        return request_id if repetition == 1 else f"{request_id}#{repetition}"


def own_trace_id(row: Row, evaluation_id: str) -> str:
    """The id of the trace that we write for a row: always the same for the same row.

    Args:
        row: The row; the id of its call's root is the trace's.
        evaluation_id: The evaluation, for a row that was not run.

    Returns:
        MLflow's form: ``tr-`` and 32 hexadecimal digits.
    """
    if row.run is not None:
        return f"tr-{row.run.root.run_id.hex}"
    # What was asked, too: another question may stand there when the evaluation is gone on with.
    name = f"{evaluation_id}/{record_key(row.record.request)}/{row.number}/{row.repetition}"
    return f"tr-{uuid5(NAMESPACE_OID, name).hex}"


def written_row(row: Row, evaluation_id: str) -> WrittenRow:
    """A row with the id of its trace."""
    return WrittenRow(row=row, trace_id=own_trace_id(row, evaluation_id))


def spans_of(written: WrittenRow) -> list[MlflowSpan]:
    """The spans of a row's own trace, the root first.

    A row that was not run has one span: its request, and the answer that the data carried.
    """
    run = written.row.run or _run_of_answer(written)
    return list(_spans(run, written))


def plain(value: Any) -> Any:
    """A step's input or output as plain JSON, in the forms that MLflow's UI knows."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, BaseMessage):
        return convert_to_openai_messages(value)
    if isinstance(value, Document):
        return {"page_content": value.page_content, "metadata": plain(value.metadata)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [plain(item) for item in value]
    return str(value)


def _run_of_answer(written: WrittenRow) -> CapturedRun:
    now = time.time_ns()
    span = Span(
        run_id=UUID(hex=written.trace_id.removeprefix("tr-")),
        parent_id=None,
        kind="CHAIN",
        name="response",
        inputs=written.row.record.request,
        outputs=written.row.outcome.response,
        error=written.row.outcome.error,
        start_ns=now,
        end_ns=now,
    )
    return CapturedRun((span,))


def _spans(run: CapturedRun, written: WrittenRow) -> Iterator[MlflowSpan]:
    from mlflow.entities import Span as MlflowSpan
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext, Status, StatusCode

    trace = int(written.trace_id.removeprefix("tr-"), 16)
    contexts = {
        span.run_id: SpanContext(trace, _span_id(span.run_id), is_remote=False)
        for span in run.spans
    }
    nowhere = Resource.get_empty()
    for span in run.spans:
        attributes = {
            "mlflow.traceRequestId": written.trace_id,
            "mlflow.spanType": span.kind,
            "mlflow.spanInputs": plain(span.inputs),
            "mlflow.spanOutputs": plain(span.outputs),
            **_further_attributes(span),
        }
        if span is run.root:
            attributes[_TAG_PREFIX + REQUEST_ID_TAG] = written.request_id
            attributes[_TAG_PREFIX + "mlflow.traceName"] = span.name
        failed = span.error is not None
        yield MlflowSpan(
            ReadableSpan(
                name=span.name,
                context=contexts[span.run_id],
                parent=contexts.get(span.parent_id) if span.parent_id else None,
                # Without one, OpenTelemetry describes this process anew for each span.
                resource=nowhere,
                attributes={k: json.dumps(v, ensure_ascii=False) for k, v in attributes.items()},
                status=Status(StatusCode.ERROR if failed else StatusCode.OK, span.error),
                start_time=span.start_ns,
                end_time=span.end_ns,
            )
        )


def _span_id(run_id: UUID) -> int:
    """64 bits of a step's id, those that are random in every version of UUID; 0 is no span id."""
    return run_id.int & (2**64 - 1) or 1


def _further_attributes(span: Span) -> dict[str, Any]:
    attributes: dict[str, Any] = {}
    if span.error is not None:
        attributes["error"] = span.error
    if span.first_token_ns is not None:
        # MLflow has no attribute of its own for it (3.17).
        attributes["time_to_first_token_ms"] = (span.first_token_ns - span.start_ns) / 1e6
    if span.input_tokens is not None or span.output_tokens is not None:
        read, wrote = span.input_tokens or 0, span.output_tokens or 0
        attributes["mlflow.chat.tokenUsage"] = {
            "input_tokens": read,
            "output_tokens": wrote,
            "total_tokens": read + wrote,
        }
    return attributes
