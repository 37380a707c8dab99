"""The rows of an evaluation as the report shows them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from langchain_dbx_eval.errors import DatabricksError
from langchain_dbx_eval.evaluation.journal.rows import Row
from langchain_dbx_eval.reporting.html.model import (
    ChunkDetail,
    MessageDetail,
    RatingDetail,
    RowDetail,
    SpanDetail,
    Verdict,
)
from langchain_dbx_eval.scoring import Assessment, ScoringContext
from langchain_dbx_eval.scoring.answer_text import answer_text, request_text, to_plain_json
from langchain_dbx_eval.scoring.contract import OVERALL_ASSESSMENT
from langchain_dbx_eval.scoring.conversation import conversation_messages
from langchain_dbx_eval.scoring.mlflow.traces import trace_of

__all__ = ["describe_row", "overall_assessment", "verdict_of"]


def describe_row(row: Row) -> RowDetail:
    """Return all of a row."""
    record, outcome = row.record, row.outcome
    overall = overall_assessment(row)
    details: Mapping[str, str] = overall.metadata if overall else {}
    expected = {doc["doc_uri"] for doc in record.expected_retrieved_context or ()}
    retrieved = {doc.get("doc_uri") for doc in outcome.retrieved_context or ()}
    expectations = dict(ScoringContext(record, outcome).expectations)
    expectations.pop("expected_response", None)
    return RowDetail(
        id=record.request_id,
        number=row.number,
        repetition=row.repetition,
        matched=row.matched,
        trace_id=row.trace_id,
        verdict=verdict_of(row),
        cause=details.get("root_cause_assessment"),
        cause_rationale=details.get("root_cause_rationale"),
        action=details.get("suggested_action"),
        request=to_plain_json(record.request),
        question=request_text(record.request),
        messages=[
            _message(message) for message in conversation_messages(record.request, outcome.response)
        ],
        response=to_plain_json(outcome.response),
        answer=None if outcome.is_empty else answer_text(outcome.response),
        error=outcome.error,
        error_class=outcome.error_class,
        traceback=None if row.run is None else row.run.root.traceback,
        expected=record.expected_response,
        expectations=to_plain_json(expectations),
        chunks=None if outcome.retrieved_context is None else list(_chunks(row, expected)),
        missed=[] if outcome.error else sorted(expected - retrieved),
        ratings=[_rating(assessment) for assessment in row.assessments],
        skipped=[[skip.name, skip.reason] for skip in row.scores.skipped],
        latency=outcome.latency_seconds,
        first_token=outcome.time_to_first_token_seconds,
        input_tokens=outcome.input_tokens,
        output_tokens=outcome.output_tokens,
        cost=outcome.cost_usd,
        metadata=to_plain_json({k: v for k, v in record.metadata.items() if k not in expectations}),
        spans=list(_spans(row)),
    )


def overall_assessment(row: Row) -> Assessment | None:
    """Return the verdict of all judges; None if none applied."""
    return next((a for a in row.assessments if a.column == OVERALL_ASSESSMENT), None)


def verdict_of(row: Row) -> Verdict:
    """Return whether a row failed, and why."""
    overall = overall_assessment(row)
    if row.outcome.error is not None:
        return "error"
    if overall is not None:
        return "unknown" if overall.number is None else "pass" if overall.number else "fail"
    return "empty" if row.outcome.is_empty else "none"


def _message(message: Mapping[str, Any]) -> MessageDetail:
    content = message.get("content")
    calls = message.get("tool_calls")
    return MessageDetail(
        role=str(message.get("role") or message.get("type") or "message"),
        text=(answer_text(dict(message)) or "") if content else "",
        calls=calls if isinstance(calls, list) else [],
    )


def _chunks(row: Row, expected: set[str]) -> Iterator[ChunkDetail]:
    # A judge of chunks rates those that have a content.
    judged: Mapping[str, Any] = next(
        (
            {name: a.extra_columns.get(f"{a.column}/{name}") for name in ("ratings", "rationales")}
            for a in row.assessments
            if f"{a.column}/ratings" in a.extra_columns
            and f"{a.column}/rationales" in a.extra_columns
        ),
        {},
    )
    ratings, rationales = (iter(judged.get(name) or ()) for name in ("ratings", "rationales"))
    for chunk in row.outcome.retrieved_context or ():
        uri, content = chunk.get("doc_uri"), chunk.get("content")
        yield ChunkDetail(
            uri=uri,
            content=content,
            expected=uri in expected if expected else None,
            relevant=next(ratings, None) if content else None,
            rationale=next(rationales, None) if content else None,
        )


def _rating(assessment: Assessment) -> RatingDetail:
    usage = assessment.usage
    tokens = usage.input_tokens + usage.output_tokens if usage else 0
    return RatingDetail(
        name=assessment.name,
        column=assessment.value_column,
        value=to_plain_json(assessment.value),
        number=assessment.number,
        rationale=assessment.rationale,
        error=assessment.error,
        source=assessment.source,
        judge=assessment.metadata.get("judge_model"),
        tokens=tokens or None,
        cost=usage.cost_usd if usage else None,
        seconds=usage.seconds if usage and usage.seconds else None,
    )


def _spans(row: Row) -> Iterator[SpanDetail]:
    if row.run is None:
        yield from _recorded_spans(row)
        return
    positions = {span.run_id: number for number, span in enumerate(row.run.spans)}
    start = row.run.root.start_ns
    for span in row.run.spans:
        yield SpanDetail(
            name=span.name,
            kind=str(span.kind),
            parent=None if span.parent_id is None else positions.get(span.parent_id),
            start=(span.start_ns - start) / 1e6,
            duration=max(span.end_ns - span.start_ns, 0) / 1e6,
            first_token=None
            if span.first_token_ns is None
            else (span.first_token_ns - span.start_ns) / 1e6,
            input_tokens=span.input_tokens,
            output_tokens=span.output_tokens,
            cost=span.cost_usd,
            inputs=to_plain_json(span.inputs),
            outputs=to_plain_json(span.outputs),
            error=span.error,
        )


def _recorded_spans(row: Row) -> Iterator[SpanDetail]:
    """Yield the steps of the MLflow trace that the record contains."""
    if row.record.trace is None:
        return
    try:
        spans = trace_of(ScoringContext(row.record, row.outcome)).data.spans
    except DatabricksError:  # it is not a trace: the row's error says so
        return
    positions = {span.span_id: number for number, span in enumerate(spans)}
    start = min((span.start_time_ns for span in spans), default=0)
    for span in spans:
        usage = span.get_attribute("mlflow.chat.tokenUsage") or {}
        yield SpanDetail(
            name=span.name,
            kind=str(span.span_type),
            parent=None if span.parent_id is None else positions.get(span.parent_id),
            start=(span.start_time_ns - start) / 1e6,
            duration=max((span.end_time_ns or 0) - span.start_time_ns, 0) / 1e6,
            first_token=None,
            input_tokens=usage.get("input_tokens"),
            output_tokens=usage.get("output_tokens"),
            cost=None,
            inputs=to_plain_json(span.inputs),
            outputs=to_plain_json(span.outputs),
            error=span.status.description or None
            if str(span.status.status_code).endswith("ERROR")
            else None,
        )
