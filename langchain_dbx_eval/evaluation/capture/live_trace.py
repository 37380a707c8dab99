"""The MLflow trace of one invocation of a model that records spans of its own.

A function may be traced with `mlflow.trace`, use `mlflow.start_span`, or call a library that MLflow
autologs; an agent endpoint may return its trace. All these spans belong to the row that is
evaluated, and so do the steps that LangChain reports: one root span, open in the context of the
invocation, is the root of them all. A model that records nothing costs one span, which is dropped.

MLflow 3.17 keeps the spans of a running trace in its `InMemoryTraceManager`; it has no public
access to them, or to drop a trace.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID, uuid4

from langchain_core.documents import Document
from langchain_core.messages import AIMessage

from langchain_dbx_eval._internal.log import get_logger
from langchain_dbx_eval.evaluation.capture.spans import (
    CapturedRun,
    Span,
    exception_attributes,
    mlflow_token_usage,
)
from langchain_dbx_eval.scoring.answer_text import to_plain_json

if TYPE_CHECKING:
    from mlflow.entities import LiveSpan
    from mlflow.entities import Span as MlflowSpan
    from mlflow.tracing.trace_manager import InMemoryTraceManager

__all__ = ["AgentTrace", "LiveTrace", "split_agent_trace", "take_agent_traces"]

_logger = get_logger(__name__)

_OUTPUT = "databricks_output"
_LOW_64_BITS = 2**64 - 1


class LiveTrace:
    """The open MLflow trace of an invocation; `start` returns it."""

    def __init__(self, root: LiveSpan) -> None:
        from mlflow.tracing.trace_manager import InMemoryTraceManager as Manager

        self._root = root
        self._manager: InMemoryTraceManager = Manager.get_instance()  # type: ignore[no-untyped-call]
        self._seen = {root.span_id}

    @classmethod
    def start(
        cls, name: str, request: Any, *, experiment_id: str | None, metadata: dict[str, str]
    ) -> LiveTrace | None:
        """Start a trace; None if MLflow's tracing is disabled or leaves this trace out.

        Args:
            name: The name of its root span.
            request: The input of its root span.
            experiment_id: The MLflow experiment; None: the current one.
            metadata: The metadata of the trace.
        """
        import mlflow
        from mlflow.entities.span import NO_OP_SPAN_TRACE_ID

        root = mlflow.start_span_no_context(
            name,
            span_type="CHAIN",
            inputs=to_plain_json(request),
            experiment_id=experiment_id,
            metadata=metadata,
        )
        return None if root.trace_id == NO_OP_SPAN_TRACE_ID else cls(root)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make spans that are started in the `with` block, and in copies of its context, children.

        Spans of an earlier block, in which the invocation was rejected, are not part of the result.
        """
        from mlflow.tracing.provider import detach_span_from_context, set_span_in_context

        self._seen = {span.span_id for span in self._spans()}
        token = set_span_in_context(self._root)
        try:
            yield
        finally:
            detach_span_from_context(token)

    def has_spans(self) -> bool:
        """Whether the model recorded spans in the last `active` block."""
        return bool(self._new_spans())

    def drop(self) -> None:
        """Forget the trace; nothing of it is written."""
        self._manager.pop_trace(self._root._span.context.trace_id)

    def finish(
        self,
        run: CapturedRun | None,
        known: Mapping[int, tuple[str, str]],
        agent_traces: Sequence[AgentTrace],
        response: Any,
        error: str | None,
    ) -> CapturedRun:
        """Complete the trace with all that is known of the call, and end it.

        Args:
            run: The call as LangChain reported it; None if it reported nothing.
            known: `Recording.mlflow_spans` of the call.
            agent_traces: The traces that endpoints returned.
            response: The response of the model.
            error: Why it failed.

        Returns:
            The call, with the spans of the model as further steps, and the id of this trace.
        """
        from mlflow.entities import SpanEvent

        run = run or CapturedRun((self._root_step(response, error),))
        # Both ways between LangChain's steps and MLflow's spans.
        span_of = {run_id: span_id for run_id, (_, span_id) in known.items()}
        span_of.setdefault(run.root.run_id.int, self._root.span_id)
        step_of: dict[str | None, UUID]
        step_of = {span_id: UUID(int=run_id) for run_id, span_id in span_of.items()}
        step_of[self._root.span_id] = run.root.run_id
        spans = self._new_spans()
        for span in spans:
            # Such as one of a thread that outlives a timeout. MLflow writes no trace that has one.
            if span.end_time_ns is None:
                span.end()
        own = [span for span in spans if span.span_id not in step_of]
        steps = [_nest(step, run) for step in to_steps(own, step_of, run.root)]
        if not known:
            self._add_steps(run, span_of)
        for agent_trace in agent_traces:
            self._copy(agent_trace, span_of.get(agent_trace.step_id.int, self._root.span_id))
        if run.root.traceback is not None:
            event = SpanEvent(  # type: ignore[abstract]  # of a method that it does not need
                "exception", attributes={**exception_attributes(run.root)}
            )
            self._root.add_event(event)
        if error is not None:
            self._root.set_status("ERROR")
        self._root.end(outputs=to_plain_json(response))
        return replace(
            run,
            spans=(*run.spans, *steps),
            trace_id=self._root.trace_id,
            trace_span_id=self._root.span_id,
        )

    def _new_spans(self) -> list[LiveSpan]:
        return [span for span in self._spans() if span.span_id not in self._seen]

    def _spans(self) -> list[LiveSpan]:
        with self._manager.get_trace(self._root.trace_id) as trace:
            return [] if trace is None else list(trace.span_dict.values())

    def _root_step(self, response: Any, error: str | None) -> Span:
        return Span(
            run_id=uuid4(),
            parent_id=None,
            kind="CHAIN",
            name=self._root.name,
            inputs=self._root.inputs,
            outputs=response,
            error=error,
            start_ns=self._root.start_time_ns,
            end_ns=max((span.end_time_ns or 0 for span in self._spans()), default=0),
        )

    def _add_steps(self, run: CapturedRun, span_of: dict[int, str]) -> None:
        """Add the steps that LangChain reported, which MLflow's tracer did not record."""
        import mlflow

        for step in run.spans[1:]:
            parent_id = span_of.get(step.parent_id.int) if step.parent_id else None
            span = mlflow.start_span_no_context(
                step.name,
                span_type=step.kind,
                parent_span=self._span(parent_id or self._root.span_id),
                inputs=to_plain_json(step.inputs),
                start_time_ns=step.start_ns,
            )
            span_of[step.run_id.int] = span.span_id
            if step.input_tokens is not None or step.output_tokens is not None:
                span.set_attribute("mlflow.chat.tokenUsage", mlflow_token_usage(step))
            span.end(
                outputs=to_plain_json(step.outputs),
                status="OK" if step.error is None else "ERROR",
                end_time_ns=step.end_ns or None,
            )

    def _span(self, span_id: str) -> LiveSpan | None:
        span: LiveSpan | None = self._manager.get_span_from_id(self._root.trace_id, span_id)
        return span

    def _copy(self, agent_trace: AgentTrace, parent_id: str) -> None:
        """Copy the spans of an agent's trace below a span of this one."""
        from mlflow.entities import LiveSpan

        for span in agent_trace.spans:
            copy = LiveSpan.from_immutable_span(
                span, parent_span_id=span.parent_id or parent_id, trace_id=self._root.trace_id
            )
            # `mlflow.tracing.utils.copy` does the same: otherwise the span is not exported.
            self._manager.register_span(copy)
            copy.end(end_time_ns=span.end_time_ns)


class AgentTrace(NamedTuple):
    """A trace that an agent endpoint returned with its answer.

    Attributes:
        step_id: The step that called the endpoint.
        spans: The spans of the trace.
    """

    step_id: UUID
    spans: list[MlflowSpan]


def split_agent_trace(response: Any) -> tuple[Any, Any]:
    """Return a response without the trace that an agent endpoint added to it, and the trace.

    Args:
        response: A message of `ChatDatabricks`, the dict that an endpoint answered, or anything
            else.
    """
    if isinstance(response, AIMessage):
        metadata, trace = split_agent_trace(response.response_metadata)
        if trace is not None:
            response = response.model_copy(update={"response_metadata": metadata})
        return response, trace
    output = response.get(_OUTPUT) if isinstance(response, dict) else None
    if not isinstance(output, dict) or not isinstance(output.get("trace"), dict):
        return response, None
    rest = {key: value for key, value in output.items() if key != "trace"}
    others = {key: value for key, value in response.items() if key != _OUTPUT}
    return {**others, **({_OUTPUT: rest} if rest else {})}, output["trace"]


def take_agent_traces(run: CapturedRun) -> tuple[CapturedRun, list[AgentTrace]]:
    """Take the traces of agent endpoints out of the outputs of a call's steps.

    Returns:
        The call without them, and with their spans as steps; and the traces. The message of a model
        is also in the outputs of the steps that return it: the innermost step counts.
    """
    traces: dict[str, tuple[UUID, Any]] = {}
    steps = []
    for step in run.spans:
        outputs, trace = split_agent_trace(step.outputs)
        if trace is not None:
            traces[str(trace.get("info"))] = step.run_id, trace
            step = replace(step, outputs=outputs)
        steps.append(step)
    found = []
    for step_id, trace in traces.values():
        if spans := _parse_spans(trace):
            found.append(AgentTrace(step_id, spans))
            steps += to_steps(spans, {None: step_id}, run.root)
    return replace(run, spans=tuple(steps)) if traces else run, found


def _parse_spans(trace: dict[str, Any]) -> list[MlflowSpan]:
    from mlflow.entities import Span as MlflowSpan

    try:
        return [MlflowSpan.from_dict(span) for span in trace["data"]["spans"]]
    except Exception as error:
        # The answer is complete without it.
        _logger.warning("The trace that an endpoint returned cannot be read: %r", error)
        return []


def _nest(step: Span, run: CapturedRun) -> Span:
    """Make a span that is the same work as a step that LangChain reported a child of that step.

    Such as a traced function that calls a retriever, or an autologged client in a chat model: their
    documents and tokens count once.
    """
    for other in run.spans:
        overlaps = other.start_ns <= step.end_ns and step.start_ns <= other.end_ns
        same_documents = step.kind == other.kind == "RETRIEVER" and step.outputs == other.outputs
        tokens = step.input_tokens, step.output_tokens
        same_tokens = (None, None) != tokens == (other.input_tokens, other.output_tokens)
        if overlaps and (same_documents or same_tokens):
            return replace(step, parent_id=other.run_id)
    return step


def to_steps(
    spans: Sequence[MlflowSpan], step_of: Mapping[str | None, UUID], root: Span
) -> Iterator[Span]:
    """Yield MLflow's spans as steps of a call.

    Args:
        spans: The spans.
        step_of: The steps that are spans' parents, by the span's id; None: the parent of a root.
        root: The step of the call itself.
    """
    high = root.run_id.int & ~_LOW_64_BITS
    ids: dict[str | None, UUID]
    ids = {span.span_id: UUID(int=high | int(span.span_id, 16)) for span in spans}
    for span in spans:
        usage = span.get_attribute("mlflow.chat.tokenUsage") or {}
        failed = span.status.status_code == "ERROR"
        outputs = span.outputs
        if span.span_type == "RETRIEVER" and isinstance(outputs, list):
            outputs = [_to_document(item) for item in outputs]
        parent_id = ids.get(span.parent_id) or step_of.get(span.parent_id) or root.run_id
        yield Span(
            run_id=ids[span.span_id],
            parent_id=parent_id,
            kind=span.span_type,
            name=span.name,
            inputs=span.inputs,
            outputs=outputs,
            error=(span.status.description or "failed") if failed else None,
            start_ns=span.start_time_ns,
            end_ns=span.end_time_ns or root.end_ns,
            input_tokens=usage.get("input_tokens"),
            output_tokens=usage.get("output_tokens"),
            cached_input_tokens=usage.get("cache_read_input_tokens"),
            model=span.get_attribute("mlflow.llm.model"),
        )


def _to_document(value: Any) -> Document:
    """Return what a traced retriever returned as a document."""
    if not isinstance(value, Mapping):
        return Document(value if isinstance(value, str) else str(value))
    content = value.get("page_content", value.get("content"))
    metadata = value.get("metadata")
    if not isinstance(metadata, Mapping):
        metadata = {k: v for k, v in value.items() if k not in ("page_content", "content", "id")}
    return Document(content if isinstance(content, str) else str(content), metadata=dict(metadata))
