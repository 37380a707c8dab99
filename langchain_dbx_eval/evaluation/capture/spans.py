"""A call of a chain and its steps: recorded while it runs, assembled when it has ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias
from uuid import UUID

from langchain_core.documents import Document

from langchain_dbx_eval.datasets.record import doc_uri_of
from langchain_dbx_eval.evaluation.capture.autolog import SpanFinder
from langchain_dbx_eval.scoring import Outcome

__all__ = [
    "CapturedRun",
    "DocUri",
    "ModelUsage",
    "OutputReader",
    "Recording",
    "Span",
    "SpanKind",
    "TokenUsage",
    "mlflow_token_usage",
]

SpanKind = Literal["CHAIN", "LLM", "CHAT_MODEL", "RETRIEVER", "TOOL"]
"""The kind of a step, named as MLflow's span types."""

DocUri: TypeAlias = str | Callable[[Document], str | None]
"""The URI of a retrieved document: a key of its metadata, or a function of the document."""


class TokenUsage(NamedTuple):
    """The token counts of one model call; None for a count that the provider does not report.

    Attributes:
        input_tokens: Tokens that the model read, those of `cached_input_tokens` included.
        output_tokens: Tokens that the model wrote.
        cached_input_tokens: Tokens that the provider read from its prompt cache.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_input_tokens: int | None = None


class ModelUsage(NamedTuple):
    """The tokens of the calls of one model.

    Attributes:
        model: The name of the model; empty: not known.
        input_tokens: Tokens that it read, those of `cached_input_tokens` included.
        cached_input_tokens: Tokens that the provider read from its prompt cache.
        output_tokens: Tokens that it wrote.
        cost_usd: The cost in US dollars that the provider reported; None if it reported none.
    """

    model: str
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    cost_usd: float | None = None


@dataclass(kw_only=True, slots=True)
class Span:
    """One step of a chain.

    Attributes:
        run_id: LangChain's id of the step.
        parent_id: The id of the enclosing step; None for the call itself.
        kind: The kind of step: a `SpanKind`, or another span type of MLflow.
        name: The name of the component.
        inputs: The input of the step.
        outputs: The output of the step; None if it failed.
        error: Why the step failed; None if it did not.
        traceback: The traceback of the exception that ended the call; None for other steps.
        start_ns: Start, in nanoseconds since the epoch.
        end_ns: End, in nanoseconds since the epoch; 0 while the step runs.
        first_token_ns: When a model streamed its first token; None if it streamed none.
        input_tokens: Tokens that a model read; None if the provider does not report them.
        output_tokens: Tokens that a model wrote; None if the provider does not report them.
        cached_input_tokens: Those of `input_tokens` that the provider read from its prompt cache;
            None if it does not report them.
        model: The name of the model that was called; None if the step is none, or it is not known.
        cost_usd: The cost of the model call in US dollars, by ``prices`` of `evaluate`; None if it
            is not known.
    """

    run_id: UUID
    parent_id: UUID | None
    kind: str
    name: str
    inputs: Any
    outputs: Any = None
    error: str | None = None
    traceback: str | None = None
    start_ns: int
    end_ns: int = 0
    first_token_ns: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_input_tokens: int | None = None
    model: str | None = None
    cost_usd: float | None = None

    @property
    def usage(self) -> ModelUsage:
        """The tokens of the model call."""
        return ModelUsage(
            self.model or "",
            self.input_tokens or 0,
            self.cached_input_tokens or 0,
            self.output_tokens or 0,
        )


@dataclass(frozen=True)
class CapturedRun:
    """A complete call of a chain.

    Attributes:
        spans: Its steps in the order of their starts; the first one is the call itself.
        metadata: The `metadata` of the call's config.
        tags: The `tags` of the call's config.
        trace_id: The MLflow trace that MLflow's own tracer writes for this call; None without such
            a tracer.
        trace_span_id: The call's span in that trace, which may contain other calls too.
    """

    spans: tuple[Span, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    trace_id: str | None = None
    trace_span_id: str | None = None

    @property
    def root(self) -> Span:
        """The span of the call itself."""
        return self.spans[0]

    @property
    def request(self) -> Any:
        """The input of the call; of a chat model, without its tools."""
        inputs = self.root.inputs
        if self.root.kind == "CHAT_MODEL" and isinstance(inputs, dict):
            return {name: value for name, value in inputs.items() if name != "tools"}
        return inputs

    def outcome(self, doc_uri: DocUri | None = None) -> Outcome:
        """Return the call as scorers see it: response, documents, latency and tokens.

        Args:
            doc_uri: The URI of a retrieved document; default: `doc_uri_of` its metadata.
        """

        def uri_of(document: Document) -> str | None:
            if callable(doc_uri):
                return doc_uri(document)
            return document.metadata.get(doc_uri) if doc_uri else doc_uri_of(document.metadata)

        retrievals = self._outermost(lambda s: s.kind == "RETRIEVER" and s.error is None)
        models = self.models()
        return Outcome(
            response=self.root.outputs,
            retrieved_context=[
                {"doc_uri": uri_of(document), "content": document.page_content}
                for span in retrievals
                for document in span.outputs or ()
            ]
            if retrievals
            else None,
            latency_seconds=(self.root.end_ns - self.root.start_ns) / 1e9,
            time_to_first_token_seconds=self._time_to_first_token(),
            input_tokens=_total([span.input_tokens for span in models]),
            output_tokens=_total([span.output_tokens for span in models]),
            cached_input_tokens=_total([span.cached_input_tokens for span in models]),
            error=self.root.error,
        )

    def usage(self) -> list[ModelUsage]:
        """Return the tokens of each model call."""
        return [span.usage for span in self.models()]

    def models(self) -> list[Span]:
        """Return the steps that called a model."""
        # Only models have token counts.
        return self._outermost(lambda s: (s.input_tokens, s.output_tokens) != (None, None))

    def _outermost(self, is_counted: Callable[[Span], bool]) -> list[Span]:
        """Return the counted spans that are not inside another counted one.

        A retriever that calls other retrievers, and a model that wraps another model, report the
        results of these again.
        """
        covered: set[UUID] = set()
        outermost: list[Span] = []
        for span in self.spans:
            if span.parent_id in covered:
                covered.add(span.run_id)
            elif is_counted(span):
                covered.add(span.run_id)
                outermost.append(span)
        return outermost

    def _time_to_first_token(self) -> float | None:
        times = [span.first_token_ns for span in self.spans if span.first_token_ns is not None]
        return (min(times) - self.root.start_ns) / 1e9 if times else None


OutputReader: TypeAlias = Callable[[Any], tuple[Any, TokenUsage]]
# Kind, id, start time, inputs, serialized component, and LangChain's other keyword arguments.
StepStart: TypeAlias = tuple[SpanKind, UUID, int, Any, Any, dict[str, Any]]
# End time, outputs, inputs that are only known now, error with its traceback, and the reader of the
# outputs.
StepEnd: TypeAlias = tuple[int, Any, Any, tuple[str | None, str | None], OutputReader | None]


class Recording:
    """The events of one call.

    While the call runs, an event costs the chain's thread no more than a tuple. `to_run` assembles
    them and may be called in another thread.

    Args:
        find_span: Finds the span that MLflow's tracer opened for the call; None without a tracer.

    Attributes:
        starts: The start of each step.
        ends: The end of each step, by the integer of its id.
        first_tokens: The time of the first token of a streaming model, by the integer of the id.
        mlflow_spans: The trace id and span id under which MLflow's tracer records a step, by the
            integer of the step's id.
    """

    __slots__ = ("_find_span", "ends", "first_tokens", "mlflow_spans", "starts")

    def __init__(self, find_span: SpanFinder | None) -> None:
        self.starts: list[StepStart] = []
        self.ends: dict[int, StepEnd] = {}
        self.first_tokens: dict[int, int] = {}
        self.mlflow_spans: dict[int, tuple[str, str]] = {}
        self._find_span = find_span

    def find_mlflow_span(self, run_id: UUID) -> None:
        """Find the span that MLflow's tracer opened for a step, unless it is already known.

        A tracer that receives the events first has opened its span when the step starts here;
        one that receives them later has not closed its span when the step ends here.
        """
        if self._find_span is not None and run_id.int not in self.mlflow_spans:
            span = self._find_span(run_id)
            if span is not None:
                self.mlflow_spans[run_id.int] = span

    def to_run(self) -> CapturedRun:
        """Assemble the events."""
        _, root_id, _, _, _, event = self.starts[0]
        end_ns = self.ends[root_id.int][0]
        return CapturedRun(
            tuple(self._span(start, end_ns) for start in self.starts),
            dict(event.get("metadata") or {}),
            tuple(event.get("tags") or ()),
            *self.mlflow_spans.get(root_id.int, ()),
        )

    def _span(self, start: StepStart, call_end_ns: int) -> Span:
        kind, run_id, start_ns, inputs, serialized, event = start
        # A step that has not ended, such as one left open by a canceled stream, ends with its call.
        unfinished: StepEnd = (call_end_ns, None, None, (None, None), None)
        end_ns, outputs, late_inputs, (error, traceback), read = self.ends.get(
            run_id.int, unfinished
        )
        output, usage = read(outputs) if read else (outputs, TokenUsage())
        return Span(
            run_id=run_id,
            parent_id=event.get("parent_run_id"),
            kind=kind,
            name=event.get("name") or (serialized or {}).get("name") or kind.lower(),
            inputs=inputs if late_inputs is None else late_inputs,
            outputs=output,
            error=error,
            traceback=traceback,
            start_ns=start_ns,
            end_ns=end_ns,
            first_token_ns=self.first_tokens.get(run_id.int),
            **usage._asdict(),
            model=_model_name(kind, output, event),
        )


def mlflow_token_usage(counts: Span | Outcome) -> dict[str, int]:
    """Return the token counts of a step or a call under the names of ``mlflow.chat.tokenUsage``."""
    read, written = counts.input_tokens or 0, counts.output_tokens or 0
    usage = {"input_tokens": read, "output_tokens": written, "total_tokens": read + written}
    if counts.cached_input_tokens is not None:
        usage["cache_read_input_tokens"] = counts.cached_input_tokens
    return usage


def exception_attributes(span: Span) -> dict[str, str]:
    """Return the attributes of the event of a failed call.

    OpenTelemetry, "Semantic conventions for exceptions on spans":
    https://opentelemetry.io/docs/specs/semconv/exceptions/exceptions-spans/.
    """
    name, _, message = (span.error or "").partition(": ")
    return {
        "exception.type": name,
        "exception.message": message,
        "exception.stacktrace": span.traceback or "",
    }


def _model_name(kind: SpanKind, output: Any, event: Mapping[str, Any]) -> str | None:
    """Return the name of the model of a step: as it was requested, else as it answered."""
    if kind not in ("LLM", "CHAT_MODEL"):
        return None
    # langchain-core adds it to the metadata of each model call, for LangSmith's prices.
    requested = (event.get("metadata") or {}).get("ls_model_name")
    name = requested or (getattr(output, "response_metadata", None) or {}).get("model_name")
    return None if name is None else str(name)


def _total(counts: list[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
