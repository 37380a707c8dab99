"""LangChain's events as steps of captured runs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, LLMResult
from typing_extensions import override

from langchain_dbx_eval.evaluation.capture import autolog as mlflow_tracer
from langchain_dbx_eval.evaluation.capture.recorder import RunCapture
from langchain_dbx_eval.evaluation.capture.token_usage import tokens_of

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
        capture.find_tracer = partial(mlflow_tracer.find_tracer, self)

    @override
    def on_chain_start(self, serialized: Any, inputs: Any, *, run_id: UUID, **event: Any) -> None:
        self.capture.begin("CHAIN", inputs, run_id, serialized, event)

    @override
    def on_chain_end(self, outputs: Any, *, run_id: UUID, **event: Any) -> None:
        # A streamed chain tells its input at its end: at its start it has not read it yet.
        self.capture.end(run_id, outputs, inputs=event.get("inputs"))

    @override
    def on_llm_start(
        self, serialized: Any, prompts: list[str], *, run_id: UUID, **event: Any
    ) -> None:
        inputs = prompts[0] if len(prompts) == 1 else prompts
        self.capture.begin("LLM", inputs, run_id, serialized, event)

    @override
    def on_chat_model_start(
        self, serialized: Any, messages: list[list[BaseMessage]], *, run_id: UUID, **event: Any
    ) -> None:
        inputs = {"messages": list(messages[0]) if messages else []}
        self.capture.begin("CHAT_MODEL", inputs, run_id, serialized, event)

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
        self.capture.end(run_id, response, read=_answer)

    @override
    def on_retriever_start(
        self, serialized: Any, query: str, *, run_id: UUID, **event: Any
    ) -> None:
        self.capture.begin("RETRIEVER", query, run_id, serialized, event)

    @override
    def on_retriever_end(
        self, documents: Sequence[Document], *, run_id: UUID, **event: Any
    ) -> None:
        self.capture.end(run_id, list(documents))

    @override
    def on_tool_start(self, serialized: Any, input_str: str, *, run_id: UUID, **event: Any) -> None:
        self.capture.begin("TOOL", event.get("inputs") or input_str, run_id, serialized, event)

    @override
    def on_tool_end(self, output: Any, *, run_id: UUID, **event: Any) -> None:
        self.capture.end(run_id, output)

    def _fail(self, error: BaseException, *, run_id: UUID, **event: Any) -> None:
        reason = f"{type(error).__name__}: {error}".removesuffix(": ")
        self.capture.end(run_id, error=reason, inputs=event.get("inputs"))

    on_chain_error = on_llm_error = on_retriever_error = on_tool_error = _fail


def _answer(response: LLMResult) -> tuple[Any, tuple[int | None, int | None]]:
    """A model's answer, and the tokens that it took."""
    first = next((generation for prompt in response.generations for generation in prompt), None)
    text = None if first is None else first.text
    return first.message if isinstance(first, ChatGeneration) else text, tokens_of(response)


def _calls_tools(chunk: Any) -> bool:
    return isinstance(chunk, ChatGenerationChunk) and bool(
        getattr(chunk.message, "tool_call_chunks", None)
    )
