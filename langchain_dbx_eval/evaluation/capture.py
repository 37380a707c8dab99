"""The runs that a chain reports, put together by their ids.

LangChain tells each step's start and end with a `run_id` and its parent's. Those ids alone decide
what belongs together: ambient context (thread, task, current span) is lost in `batch`, in thread
pools and between tasks.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from langchain_core.documents import Document

from langchain_dbx_eval.scoring import Outcome

__all__ = ["Call", "CapturedRun", "RunCapture", "Span", "SpanKind", "doc_uri"]

SpanKind = Literal["CHAIN", "LLM", "CHAT_MODEL", "RETRIEVER", "TOOL"]
"""The kinds of steps, in MLflow's words for span types."""

_DOC_URI_KEYS = ("doc_uri", "uri", "source", "url")
_MODELS = frozenset({"LLM", "CHAT_MODEL"})
_RETRIEVERS = frozenset({"RETRIEVER"})
# A step of a call that has ended may still begin (a thread that outlives a cancelled stream). So
# many ended calls are remembered that it is not taken for a call of its own.
_REMEMBERED = 512


@dataclass(kw_only=True, slots=True)
class Span:
    """One step of a chain, from its start to its end.

    Attributes:
        run_id: LangChain's id of the step.
        parent_id: The id of the step that it is part of.
        kind: What kind of step it is.
        name: Its name.
        inputs: What it was given.
        outputs: What it gave back.
        error: Why it gave nothing back.
        start_ns: Its start, in nanoseconds since the epoch.
        end_ns: Its end; 0 while it runs.
        first_token_ns: When a model streamed its first token; None where it streamed none.
        input_tokens: Tokens that a model read, where it told.
        output_tokens: Tokens that a model wrote, where it told.
    """

    run_id: UUID
    parent_id: UUID | None
    kind: SpanKind
    name: str
    inputs: Any
    outputs: Any = None
    error: str | None = None
    start_ns: int
    end_ns: int = 0
    first_token_ns: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


def doc_uri(document: Document) -> str | None:
    """Where a document comes from, by the names that loaders and vector stores give it.

    Args:
        document: What a retriever returned.

    Returns:
        The first of its metadata's ``doc_uri``, ``uri``, ``source`` and ``url``.
    """
    told = (document.metadata.get(key) for key in _DOC_URI_KEYS)
    return next((str(uri) for uri in told if uri is not None), None)


@dataclass(frozen=True)
class CapturedRun:
    """One call of a chain, complete.

    Attributes:
        spans: Its steps in the order of their starts; the first is the call itself.
        metadata: The `metadata` of the call's config.
        tags: The `tags` of the call's config.
        trace_id: The MLflow trace that MLflow's own tracer makes of this call; None where it
            makes none.
        trace_span_id: The call's span in that trace, which may hold other calls too.
        doc_uri_of: Tells where a retrieved document comes from.
    """

    spans: tuple[Span, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    trace_id: str | None = None
    trace_span_id: str | None = None
    doc_uri_of: Callable[[Document], str | None] = field(default=doc_uri, repr=False, compare=False)

    @property
    def root(self) -> Span:
        """The call itself."""
        return self.spans[0]

    @property
    def request(self) -> Any:
        """What the chain was given."""
        return self.root.inputs

    def outcome(self) -> Outcome:
        """What the chain made of it."""
        retrievals = list(self._outermost(_RETRIEVERS, lambda span: span.error is None))
        models = list(self._outermost(_MODELS, _tells_tokens))
        return Outcome(
            response=self.root.outputs,
            retrieved_context=[
                {"doc_uri": self.doc_uri_of(document), "content": document.page_content}
                for span in retrievals
                for document in span.outputs or ()
            ]
            if retrievals
            else None,
            latency_seconds=(self.root.end_ns - self.root.start_ns) / 1e9,
            time_to_first_token_seconds=self._time_to_first_token(),
            input_tokens=_total([span.input_tokens for span in models]),
            output_tokens=_total([span.output_tokens for span in models]),
            error=self.root.error,
        )

    def _outermost(self, kinds: frozenset[str], counts: Callable[[Span], bool]) -> Iterator[Span]:
        """Spans of a kind that count, without those inside of another that does.

        A retriever that asks other retrievers, and a model that wraps another, tell again what
        these have told.
        """
        covered: set[UUID] = set()
        for span in self.spans:
            if span.parent_id in covered:
                covered.add(span.run_id)
            elif span.kind in kinds and counts(span):
                covered.add(span.run_id)
                yield span

    def _time_to_first_token(self) -> float | None:
        told = [span.first_token_ns for span in self.spans if span.first_token_ns is not None]
        return (min(told) - self.root.start_ns) / 1e9 if told else None


@dataclass(eq=False, slots=True)
class Call:
    """A call of a chain while it runs.

    Attributes:
        root_id: The id of the call's own run.
        kept: Whether its steps are recorded.
        steps: The steps so far, by their ids; None where they are not recorded.
        metadata: As for `CapturedRun`, like the ones after it.
    """

    root_id: UUID
    kept: bool
    steps: dict[UUID, Span | None] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    trace_id: str | None = None
    trace_span_id: str | None = None


class RunCapture:
    """Collects steps until the call that they belong to has ended.

    Args:
        on_complete: Called with each complete call, in the thread in which it ended.
        keep: Whether a call is recorded, by the id of its run; default: each is.
        doc_uri_of: Tells where a retrieved document comes from.
        max_open: How many calls may be under way; then the oldest is given up. A stream that is
            neither read to its end nor closed never ends.
    """

    def __init__(
        self,
        on_complete: Callable[[CapturedRun], object],
        *,
        keep: Callable[[UUID], bool] | None = None,
        doc_uri_of: Callable[[Document], str | None] = doc_uri,
        max_open: int = 10_000,
    ) -> None:
        self._on_complete = on_complete
        self._keep = keep
        self._doc_uri_of = doc_uri_of
        self._max_open = max_open
        self._lock = threading.Lock()
        # By step: the call that it belongs to. By call, oldest first: those under way.
        self._call_of: dict[UUID, Call] = {}
        self._open: dict[UUID, Call] = {}
        self._ended: deque[Call] = deque()
        self.abandoned = 0
        """How many calls were given up because they did not end."""

    def enter(self, run_id: UUID, parent_id: UUID | None) -> Call | None:
        """A step has begun. One whose parent was never seen is a call of its own.

        Returns:
            The call that it belongs to; None if the step is not to be recorded.
        """
        with self._lock:
            if run_id in self._call_of:
                return None  # told twice: LangChain holds a handler once for each time it is given
            call = None if parent_id is None else self._call_of.get(parent_id)
            if call is None:
                call = Call(run_id, kept=self._keep is None or self._keep(run_id))
                self._open[run_id] = call
                if len(self._open) > self._max_open:
                    self._close(self._open.pop(next(iter(self._open))))
                    self.abandoned += 1
            self._call_of[run_id] = call
            call.steps[run_id] = None
        return call if call.kept else None

    def record(self, call: Call, span: Span) -> None:
        """Keep a step that has begun."""
        call.steps[span.run_id] = span

    def open_call(self, run_id: UUID) -> Call | None:
        """The call whose own run this is, while it is under way."""
        return self._open.get(run_id)

    def token(self, run_id: UUID) -> None:
        """A model has streamed a token."""
        call = self._call_of.get(run_id)
        span = None if call is None else call.steps.get(run_id)
        if span is not None and span.first_token_ns is None:
            span.first_token_ns = time.time_ns()

    def end(
        self,
        run_id: UUID,
        *,
        inputs: Any = None,
        outputs: Any = None,
        error: str | None = None,
        tokens: tuple[int | None, int | None] = (None, None),
    ) -> None:
        """A step has ended; if it is the call itself, the call is complete.

        Inputs that are known only now take the place of those that were told at the start.
        """
        now = time.time_ns()
        with self._lock:
            call = self._call_of.get(run_id)
            span = None if call is None else call.steps.get(run_id)
            if call is None:
                return
            if span is not None:
                span.inputs = span.inputs if inputs is None else inputs
                span.outputs, span.error, span.end_ns = outputs, error, now
                span.input_tokens, span.output_tokens = tokens
            if self._open.pop(run_id, None) is None:
                return
            spans = self._close(call)
        for step in spans:
            # A step that outlives its call, such as one left behind by a cancelled stream.
            step.end_ns = step.end_ns or now
        if spans:
            self._on_complete(
                CapturedRun(
                    spans,
                    call.metadata,
                    call.tags,
                    call.trace_id,
                    call.trace_span_id,
                    self._doc_uri_of,
                )
            )

    def _close(self, call: Call) -> tuple[Span, ...]:
        """Take a call's spans; its ids stay until as many others have ended."""
        spans = tuple(step for step in call.steps.values() if step is not None)
        call.kept = False
        call.steps = dict.fromkeys(call.steps)
        self._ended.append(call)
        if len(self._ended) > _REMEMBERED:
            for step in self._ended.popleft().steps:
                del self._call_of[step]
        return spans


def _tells_tokens(span: Span) -> bool:
    return span.input_tokens is not None or span.output_tokens is not None


def _total(counts: list[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
