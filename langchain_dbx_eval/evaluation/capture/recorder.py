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
from typing import Any, Literal, TypeAlias
from uuid import UUID

from langchain_core.documents import Document

from langchain_dbx_eval.evaluation.capture.autolog import SpanFinder
from langchain_dbx_eval.scoring import Outcome

__all__ = ["CapturedRun", "Recording", "RunCapture", "Span", "SpanKind", "doc_uri"]

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


_Tokens: TypeAlias = tuple[int | None, int | None]
_Read: TypeAlias = Callable[[Any], tuple[Any, _Tokens]]
# A step's kind, id, start, inputs, component, and what else LangChain tells at its start.
_Begun: TypeAlias = tuple[SpanKind, UUID, int, Any, Any, dict[str, Any]]
# Its end, outputs, inputs that are known only now, error, and what reads the outputs.
_Ended: TypeAlias = tuple[int, Any, Any, str | None, _Read | None]


class Recording:
    """What was told of a call, as it was told.

    Until the call has ended, each event costs the chain no more than a tuple. They are put together
    by `captured`, which need not be done in the chain's own thread.
    """

    __slots__ = ("begun", "doc_uri_of", "ended", "find_span", "first_tokens", "span")

    def __init__(self, doc_uri_of: Callable[[Document], str | None]) -> None:
        self.doc_uri_of = doc_uri_of
        self.begun: list[_Begun] = []
        # By the numbers of the steps' ids.
        self.ended: dict[int, _Ended] = {}
        self.first_tokens: dict[int, int] = {}
        # Who else traces the call, and its span there, once that is known.
        self.find_span: SpanFinder | None = None
        self.span: tuple[str, str] | None = None

    def find_trace(self, run_id: UUID) -> None:
        """Look for the call's span in a trace of somebody else's.

        A tracer that is told of the call before us has begun its span when we see the call begin;
        one that is told after us has not ended it when we see the call end.
        """
        if self.find_span is not None and self.span is None:
            self.span = self.find_span(run_id)

    def captured(self) -> CapturedRun:
        """The call as a captured run."""
        _, root_id, _, _, _, event = self.begun[0]
        end_ns = self.ended[root_id.int][0]
        trace_id, trace_span_id = self.span or (None, None)
        return CapturedRun(
            tuple(self._span(begun, end_ns) for begun in self.begun),
            dict(event.get("metadata") or {}),
            tuple(event.get("tags") or ()),
            trace_id,
            trace_span_id,
            self.doc_uri_of,
        )

    def _span(self, begun: _Begun, call_end_ns: int) -> Span:
        kind, run_id, start_ns, inputs, serialized, event = begun
        step = run_id.int
        # What has not ended, such as a step left behind by a cancelled stream, ends with its call.
        unfinished: _Ended = (call_end_ns, None, None, None, None)
        end_ns, outputs, late_inputs, error, read = self.ended.get(step, unfinished)
        answer, (read_tokens, written_tokens) = read(outputs) if read else (outputs, (None, None))
        return Span(
            run_id=run_id,
            parent_id=event.get("parent_run_id"),
            kind=kind,
            name=event.get("name") or (serialized or {}).get("name") or kind.lower(),
            inputs=inputs if late_inputs is None else late_inputs,
            outputs=answer,
            error=error,
            start_ns=start_ns,
            end_ns=end_ns,
            first_token_ns=self.first_tokens.get(step),
            input_tokens=read_tokens,
            output_tokens=written_tokens,
        )


class _Call:
    """A call of a chain: the numbers of its steps' ids, and its recording while it is kept."""

    __slots__ = ("recording", "root", "steps")

    def __init__(self, root: int, recording: Recording | None) -> None:
        self.root = root
        self.recording = recording
        self.steps: list[int] = []


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
        on_complete: Callable[[Recording], object],
        *,
        keep: Callable[[UUID], bool] | None = None,
        doc_uri_of: Callable[[Document], str | None] = doc_uri,
        max_open: int = 10_000,
    ) -> None:
        self._on_complete = on_complete
        self._keep = keep
        self._doc_uri_of = doc_uri_of
        self._max_open = max_open
        # Held where a call begins and ends. In between there are only single operations on dicts
        # and lists, each of which is atomic.
        self._lock = threading.Lock()
        # By step: the call that it belongs to. By call, oldest first: those under way. The keys are
        # the ids' numbers, as a UUID's own hash takes longer than what is done with it here.
        self._call_of: dict[int, _Call] = {}
        self._open: dict[int, _Call] = {}
        self._closed: deque[_Call] = deque()
        self.find_tracer: Callable[[], SpanFinder | None] = lambda: None
        """Finds who else traces the call that begins; set by the handler that is told of it."""
        self.abandoned = 0
        """How many calls were given up because they did not end."""

    def begin(
        self, kind: SpanKind, inputs: Any, run_id: UUID, serialized: Any, event: dict[str, Any]
    ) -> None:
        """A step has begun. One whose parent was never seen is a call of its own.

        Args:
            kind: What kind of step it is.
            inputs: What it is given.
            run_id: Its id.
            serialized: What LangChain tells of the component.
            event: What else LangChain tells: ``parent_run_id``, ``name``, ``metadata``, ``tags``.
        """
        step = run_id.int
        if step in self._call_of:
            return  # told twice: LangChain holds a handler once for each time it is given
        parent_id = event.get("parent_run_id")
        call = None if parent_id is None else self._call_of.get(parent_id.int)
        if call is None:
            call = self._open_call(run_id)
            inputs = _kept(inputs)
        self._call_of[step] = call
        call.steps.append(step)
        if call.recording is not None:
            begun = (kind, run_id, time.time_ns(), inputs, serialized, event)
            call.recording.begun.append(begun)

    def token(self, run_id: UUID) -> None:
        """A model has streamed a token."""
        step = run_id.int
        call = self._call_of.get(step)
        recording = None if call is None else call.recording
        if recording is not None and step not in recording.first_tokens:
            recording.first_tokens[step] = time.time_ns()

    def end(
        self,
        run_id: UUID,
        outputs: Any = None,
        *,
        inputs: Any = None,
        error: str | None = None,
        read: _Read | None = None,
    ) -> None:
        """A step has ended; if it is the call itself, the call is complete.

        Args:
            run_id: The step's id.
            outputs: What it gave back.
            inputs: What it was given, where that is known only now.
            error: Why it gave nothing back.
            read: Makes of the outputs what is kept, and the tokens read and written.
        """
        step = run_id.int
        call = self._call_of.get(step)
        recording = None if call is None else call.recording
        is_call = step in self._open
        if recording is not None:
            if is_call:
                outputs, inputs = _kept(outputs), _kept(inputs)
                recording.find_trace(run_id)
            recording.ended[step] = (time.time_ns(), outputs, inputs, error, read)
        if is_call:
            with self._lock:
                closed = self._close(step)
            if closed and recording is not None:
                self._on_complete(recording)

    def _open_call(self, run_id: UUID) -> _Call:
        recording = None
        if self._keep is None or self._keep(run_id):
            recording = Recording(self._doc_uri_of)
            recording.find_span = self.find_tracer()
            recording.find_trace(run_id)
        call = _Call(run_id.int, recording)
        with self._lock:
            self._open[call.root] = call
            if len(self._open) > self._max_open:
                self._close(next(iter(self._open)))
                self.abandoned += 1
        return call

    def _close(self, root: int) -> bool:
        """Record nothing further of a call; its ids stay until as many others are closed."""
        call = self._open.pop(root, None)
        if call is None:
            return False
        call.recording = None
        self._closed.append(call)
        if len(self._closed) > _REMEMBERED:
            for step in self._closed.popleft().steps:
                self._call_of.pop(step, None)
        return True


def _kept(value: Any) -> Any:
    """A call's input or output, safe from those who go on adding to its lists and dicts."""
    if type(value) is dict:
        return {key: list(item) if type(item) is list else item for key, item in value.items()}
    return list(value) if type(value) is list else value


def _tells_tokens(span: Span) -> bool:
    return span.input_tokens is not None or span.output_tokens is not None


def _total(counts: list[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
