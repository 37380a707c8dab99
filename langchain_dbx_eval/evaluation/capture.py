"""The runs that a chain reports, put together by their ids.

LangChain tells each step's start and end with a `run_id` and its parent's. Those ids alone decide
what belongs together: ambient context (thread, task, current span) is lost in `batch`, in thread
pools and between tasks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from langchain_core.documents import Document

from langchain_dbx_eval.scoring import Outcome

__all__ = ["CapturedRun", "RunCapture", "Span", "SpanKind"]

SpanKind = Literal["CHAIN", "LLM", "CHAT_MODEL", "RETRIEVER", "TOOL"]
"""The kinds of steps, in MLflow's words for span types."""

_DOC_URI_KEYS = ("doc_uri", "uri", "source", "url")


@dataclass(kw_only=True)
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
    input_tokens: int | None = None
    output_tokens: int | None = None


@dataclass(frozen=True)
class CapturedRun:
    """One call of a chain, complete.

    Attributes:
        spans: Its steps in the order of their starts; the first is the call itself.
        metadata: The `metadata` of the call's config.
        trace_id: The MLflow trace that `mlflow.langchain.autolog` makes of it, where it does.
    """

    spans: tuple[Span, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    trace_id: str | None = None

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
        retrievals = [span for span in self.spans if span.kind == "RETRIEVER" and not span.error]
        return Outcome(
            response=self.root.outputs,
            retrieved_context=[_chunk(doc) for span in retrievals for doc in span.outputs]
            if retrievals
            else None,
            latency_seconds=(self.root.end_ns - self.root.start_ns) / 1e9,
            input_tokens=_total([span.input_tokens for span in self.spans]),
            output_tokens=_total([span.output_tokens for span in self.spans]),
            error=self.root.error,
        )


class RunCapture:
    """Collects steps until the call that they belong to has ended.

    Args:
        on_complete: Called with each complete call, in the thread in which it ended.
    """

    def __init__(self, on_complete: Callable[[CapturedRun], None]) -> None:
        self._on_complete = on_complete
        self._lock = threading.Lock()
        # By step: the call that it belongs to. By call: its steps and metadata.
        self._root_of: dict[UUID, UUID] = {}
        self._calls: dict[UUID, tuple[dict[UUID, Span], dict[str, Any]]] = {}

    def start(self, span: Span, metadata: Mapping[str, Any] | None) -> None:
        """A step has begun. One whose parent was never seen is a call of its own."""
        with self._lock:
            root = self._root_of.get(span.parent_id) if span.parent_id else None
            if root is None:
                root = span.run_id
                self._calls[root] = ({}, dict(metadata or {}))
            self._root_of[span.run_id] = root
            self._calls[root][0][span.run_id] = span

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
            root = self._root_of.get(run_id)
            if root is None:
                return
            spans, metadata = self._calls[root]
            span = spans[run_id]
            span.inputs = span.inputs if inputs is None else inputs
            span.outputs, span.error, span.end_ns = outputs, error, now
            span.input_tokens, span.output_tokens = tokens
            if run_id != root:
                return
            del self._calls[root]
            for step in spans:
                del self._root_of[step]
        for span in spans.values():
            # A step that outlives its call, such as one left behind by a cancelled stream.
            span.end_ns = span.end_ns or now
        self._on_complete(CapturedRun(tuple(spans.values()), metadata))


def _chunk(document: Document) -> dict[str, Any]:
    uri = next((document.metadata[k] for k in _DOC_URI_KEYS if k in document.metadata), None)
    return {"doc_uri": uri, "content": document.page_content}


def _total(counts: list[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
