"""LangChain's events as steps of captured runs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, LLMResult
from typing_extensions import override

from langchain_dbx_eval.evaluation import mlflow_tracer
from langchain_dbx_eval.evaluation.capture import Call, RunCapture, Span, SpanKind
from langchain_dbx_eval.evaluation.token_usage import tokens_of

__all__ = ["CaptureHandler"]


class CaptureHandler(BaseCallbackHandler):
    """Turns LangChain's events into captured runs.

    Each event is told to `capture` and nothing more is done in the chain's own thread.
    """

    # In a chain's event loop, handlers are otherwise sent through a thread pool: slower than what
    # is done here, and out of order.
    run_inline = True

    def __init__(self, capture: RunCapture) -> None:
        self.capture = capture

    def _start(
        self, kind: SpanKind, serialized: Any, inputs: Any, run_id: UUID, event: dict[str, Any]
    ) -> None:
        parent_id = event.get("parent_run_id")
        call = self.capture.enter(run_id, parent_id)
        if call is None:
            return
        if call.root_id == run_id:
            inputs = _kept(inputs)
            call.metadata = dict(event.get("metadata") or {})
            call.tags = tuple(event.get("tags") or ())
            self._find_trace(call)
        span = Span(
            run_id=run_id,
            parent_id=parent_id,
            kind=kind,
            name=event.get("name") or (serialized or {}).get("name") or kind.lower(),
            inputs=inputs,
            start_ns=time.time_ns(),
        )
        self.capture.record(call, span)

    def _end(self, run_id: UUID, **told: Any) -> None:
        call = self.capture.open_call(run_id)
        if call is not None and call.kept:
            told["outputs"] = _kept(told.get("outputs"))
            self._find_trace(call)
        self.capture.end(run_id, **told)

    def _find_trace(self, call: Call) -> None:
        # A tracer that stands before this handler has begun its span when the call begins, one
        # that stands behind it has not ended it when the call ends.
        if call.trace_id is None and (found := mlflow_tracer.open_span(self, call.root_id)):
            call.trace_id, call.trace_span_id = found

    @override
    def on_chain_start(self, serialized: Any, inputs: Any, *, run_id: UUID, **event: Any) -> None:
        self._start("CHAIN", serialized, inputs, run_id, event)

    @override
    def on_chain_end(self, outputs: Any, *, run_id: UUID, **event: Any) -> None:
        # A streamed chain tells its input at its end: at its start it has not read it yet.
        self._end(run_id, outputs=outputs, inputs=_kept(event.get("inputs")))

    @override
    def on_llm_start(
        self, serialized: Any, prompts: list[str], *, run_id: UUID, **event: Any
    ) -> None:
        inputs = prompts[0] if len(prompts) == 1 else prompts
        self._start("LLM", serialized, inputs, run_id, event)

    @override
    def on_chat_model_start(
        self, serialized: Any, messages: list[list[BaseMessage]], *, run_id: UUID, **event: Any
    ) -> None:
        inputs = {"messages": list(messages[0]) if messages else []}
        self._start("CHAT_MODEL", serialized, inputs, run_id, event)

    @override
    def on_llm_new_token(
        self,
        token: str | list[str | dict[str, Any]],
        *,
        chunk: Any = None,
        run_id: UUID,
        **event: Any,
    ) -> None:
        # Providers begin with a chunk that tells the role alone.
        if token or _calls_tools(chunk):
            self.capture.token(run_id)

    @override
    def on_stream_event(self, event: Any, *, run_id: UUID, **further: Any) -> None:
        # What LangChain tells of streams in place of tokens in `stream_events(version="v3")`.
        if event.get("event") == "content-block-delta":
            self.capture.token(run_id)

    @override
    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **event: Any) -> None:
        self._end(run_id, outputs=_answer(response), tokens=tokens_of(response))

    @override
    def on_retriever_start(
        self, serialized: Any, query: str, *, run_id: UUID, **event: Any
    ) -> None:
        self._start("RETRIEVER", serialized, query, run_id, event)

    @override
    def on_retriever_end(
        self, documents: Sequence[Document], *, run_id: UUID, **event: Any
    ) -> None:
        self._end(run_id, outputs=list(documents))

    @override
    def on_tool_start(self, serialized: Any, input_str: str, *, run_id: UUID, **event: Any) -> None:
        self._start("TOOL", serialized, event.get("inputs") or input_str, run_id, event)

    @override
    def on_tool_end(self, output: Any, *, run_id: UUID, **event: Any) -> None:
        self._end(run_id, outputs=output)

    def _fail(self, error: BaseException, *, run_id: UUID, **event: Any) -> None:
        reason = f"{type(error).__name__}: {error}".removesuffix(": ")
        self._end(run_id, error=reason, inputs=_kept(event.get("inputs")))

    on_chain_error = on_llm_error = on_retriever_error = on_tool_error = _fail


def _kept(value: Any) -> Any:
    """A call's input or output, safe from those who go on adding to its lists and dicts."""
    if type(value) is dict:
        return {key: list(item) if type(item) is list else item for key, item in value.items()}
    return list(value) if type(value) is list else value


def _answer(response: LLMResult) -> Any:
    generations = response.generations[0] if response.generations else ()
    if not generations:
        return None
    first = generations[0]
    return first.message if isinstance(first, ChatGeneration) else first.text


def _calls_tools(chunk: Any) -> bool:
    return isinstance(chunk, ChatGenerationChunk) and bool(
        getattr(chunk.message, "tool_call_chunks", None)
    )
