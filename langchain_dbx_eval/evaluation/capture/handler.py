"""LangChain's callback handler, which records the calls of a chain.

LangChain reports the start and the end of each step with its `run_id` and that of its parent. Only
these ids decide which steps belong to one call: ambient context (thread, task, current span) is
lost in `batch`, in thread pools and between tasks.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, LLMResult
from langchain_core.runnables.config import var_child_runnable_config
from typing_extensions import override

from langchain_dbx_eval._internal.log import describe_error, format_traceback
from langchain_dbx_eval.evaluation.capture.autolog import find_tracer
from langchain_dbx_eval.evaluation.capture.spans import (
    OutputReader,
    Recording,
    SpanKind,
    TokenUsage,
)

__all__ = ["CaptureHandler", "token_usage"]

# A step of a call that has ended may still start (a thread that outlives a canceled stream). The
# ids of this many ended calls are kept, so that such a step does not open a call of its own.
_MAX_ENDED = 512

# Beyond it, a count is not one.
_MAX_COUNT = 2**53
_INPUT_KEYS = ("input_tokens", "prompt_tokens")
_OUTPUT_KEYS = ("output_tokens", "completion_tokens")
# LangChain's name, and OpenAI's for completions and for responses.
_CACHED_KEYS = (
    ("input_token_details", "cache_read"),
    ("prompt_tokens_details", "cached_tokens"),
    ("input_tokens_details", "cached_tokens"),
)


class _Call:
    """The step ids of a call, and its recording while it runs; None if it is not recorded.

    The ids are kept longer than the recording, which contains the data of the user.
    """

    __slots__ = ("recording", "root", "steps")

    def __init__(self, root: int, recording: Recording | None) -> None:
        self.root = root
        self.recording = recording
        self.steps: list[int] = []


class CaptureHandler(BaseCallbackHandler):
    """Records each call of a chain until the call ends.

    A call is a step without a known parent, together with all steps below it. A step that is
    reported without a parent belongs to the call in whose context it runs: `with_fallbacks` reports
    its children so in `invoke` and `ainvoke` (langchain-core 1.7; in `ainvoke`, Python 3.11 or
    later has the context).

    Args:
        on_complete: Called with each complete call, in the thread in which it ended.
        is_for_one_call: Whether all steps belong to one call, whatever their context.
        is_selected: Whether the call with this run id is recorded; default: every call.
        max_open: The largest number of running calls; beyond it, the oldest one is dropped. A
            stream that is neither read to its end nor closed never ends.

    Attributes:
        abandoned: Number of calls that were dropped because they did not end. Of more than
            `max_open` running calls the oldest is dropped.
    """

    # LangChain otherwise calls handlers of an async chain through a thread pool, which takes longer
    # than recording an event, and does not keep the order of events.
    run_inline = True

    def __init__(
        self,
        on_complete: Callable[[Recording], object],
        *,
        is_for_one_call: bool = False,
        is_selected: Callable[[UUID], bool] | None = None,
        max_open: int = 10_000,
    ) -> None:
        self.abandoned = 0
        self._is_for_one_call = is_for_one_call
        self._on_complete = on_complete
        self._is_selected = is_selected
        self._max_open = max_open
        # Held while a call opens or closes. In between there are only single operations on dicts
        # and lists, each of which is atomic.
        self._lock = threading.Lock()
        # The call of each step, and the running calls, oldest first. The keys are the integers of
        # the ids: hashing a UUID takes longer than the rest of the work on an event.
        self._call_of: dict[int, _Call] = {}
        self._open: dict[int, _Call] = {}
        self._closed: deque[_Call] = deque()

    @override
    def on_chain_start(self, serialized: Any, inputs: Any, *, run_id: UUID, **event: Any) -> None:
        self._start("CHAIN", inputs, run_id, serialized, event)

    @override
    def on_chain_end(self, outputs: Any, *, run_id: UUID, **event: Any) -> None:
        # A streamed chain reports its input at its end: it has not read it at its start.
        self._end(run_id, outputs, inputs=event.get("inputs"))

    @override
    def on_llm_start(
        self, serialized: Any, prompts: list[str], *, run_id: UUID, **event: Any
    ) -> None:
        inputs = prompts[0] if len(prompts) == 1 else prompts
        self._start("LLM", inputs, run_id, serialized, event)

    @override
    def on_chat_model_start(
        self, serialized: Any, messages: list[list[BaseMessage]], *, run_id: UUID, **event: Any
    ) -> None:
        inputs = {"messages": list(messages[0]) if messages else []}
        # MLflow's judges of tool calls read the available tools from the inputs of the model.
        if tools := (event.get("invocation_params") or {}).get("tools"):
            inputs["tools"] = tools
        self._start("CHAT_MODEL", inputs, run_id, serialized, event)

    @override
    def on_llm_new_token(
        self, token: object, *, chunk: Any = None, run_id: UUID, **event: Any
    ) -> None:
        # The first chunk of many providers contains nothing but the role.
        if token or _has_tool_call(chunk):
            self._token(run_id)

    @override
    def on_stream_event(self, event: Any, *, run_id: UUID, **further: Any) -> None:
        # `stream_events(version="v3")` emits these instead of tokens.
        if event.get("event") == "content-block-delta":
            self._token(run_id)

    @override
    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **event: Any) -> None:
        self._end(run_id, response, read=_read_result)

    @override
    def on_retriever_start(
        self, serialized: Any, query: str, *, run_id: UUID, **event: Any
    ) -> None:
        self._start("RETRIEVER", query, run_id, serialized, event)

    @override
    def on_retriever_end(
        self, documents: Sequence[Document], *, run_id: UUID, **event: Any
    ) -> None:
        self._end(run_id, list(documents))

    @override
    def on_tool_start(self, serialized: Any, input_str: str, *, run_id: UUID, **event: Any) -> None:
        self._start("TOOL", event.get("inputs") or input_str, run_id, serialized, event)

    @override
    def on_tool_end(self, output: Any, *, run_id: UUID, **event: Any) -> None:
        self._end(run_id, output)

    def _on_error(self, error: BaseException, *, run_id: UUID, **event: Any) -> None:
        self._end(run_id, error=error, inputs=event.get("inputs"))

    on_chain_error = on_llm_error = on_retriever_error = on_tool_error = _on_error

    def _start(
        self, kind: SpanKind, inputs: Any, run_id: UUID, serialized: Any, event: dict[str, Any]
    ) -> None:
        """Record the start of a step.

        Args:
            kind: The kind of step.
            inputs: Its input.
            run_id: Its id.
            serialized: LangChain's description of the component.
            event: LangChain's other arguments: ``parent_run_id``, ``name``, ``metadata``, ``tags``.
        """
        step = run_id.int
        if step in self._call_of:
            return  # LangChain calls a handler once for each time that it was passed.
        parent_id = event.get("parent_run_id")
        if parent_id is None:
            parent_id = event["parent_run_id"] = self._lost_parent()
        call = None if parent_id is None else self._call_of.get(parent_id.int)
        if call is None:
            call = self._open_call(run_id)
            inputs = _copy_containers(inputs)
        self._call_of[step] = call
        call.steps.append(step)
        if call.recording is not None:
            call.recording.find_mlflow_span(run_id)
            call.recording.starts.append((kind, run_id, time.time_ns(), inputs, serialized, event))

    def _token(self, run_id: UUID) -> None:
        """Record a token that a model streamed; only the first one of a step counts."""
        step = run_id.int
        call = self._call_of.get(step)
        recording = None if call is None else call.recording
        if recording is not None and step not in recording.first_tokens:
            recording.first_tokens[step] = time.time_ns()

    def _end(
        self,
        run_id: UUID,
        outputs: Any = None,
        *,
        inputs: Any = None,
        error: BaseException | None = None,
        read: OutputReader | None = None,
    ) -> None:
        """Record the end of a step; the end of the call itself completes the call.

        Args:
            run_id: The id of the step.
            outputs: Its output.
            inputs: Its input, if that is only known now.
            error: Why it failed.
            read: Converts `outputs` to the recorded output and the token counts; called by
                `Recording.to_run`.
        """
        step = run_id.int
        call = self._call_of.get(step)
        recording = None if call is None else call.recording
        is_call = step in self._open
        if recording is not None:
            recording.find_mlflow_span(run_id)
            if is_call:
                outputs, inputs = _copy_containers(outputs), _copy_containers(inputs)
            described = None if error is None else describe_error(error)
            # All steps around the one that failed receive the exception too.
            traceback = format_traceback(error) if is_call and error is not None else None
            recording.ends[step] = (time.time_ns(), outputs, inputs, (described, traceback), read)
        if is_call:
            with self._lock:
                closed = self._close(step)
            if closed and recording is not None:
                self._on_complete(recording)

    def _lost_parent(self) -> UUID | None:
        """Return the step to which a step without a parent belongs; None for a call of its own."""
        if self._is_for_one_call:
            call = next(iter(self._open.values()), None)
            return None if call is None else UUID(int=call.root)
        config = var_child_runnable_config.get()
        parent_id = getattr((config or {}).get("callbacks"), "parent_run_id", None)
        call = None if parent_id is None else self._call_of.get(parent_id.int)
        return None if call is None or call.root not in self._open else parent_id

    def _open_call(self, run_id: UUID) -> _Call:
        recording = None
        if self._is_selected is None or self._is_selected(run_id):
            recording = Recording(find_tracer(self))
        call = _Call(run_id.int, recording)
        with self._lock:
            self._open[call.root] = call
            if len(self._open) > self._max_open:
                self._close(next(iter(self._open)))
                self.abandoned += 1
        return call

    def _close(self, root: int) -> bool:
        """Stop recording a call; its ids are kept until `_MAX_ENDED` other calls have ended."""
        call = self._open.pop(root, None)
        if call is None:
            return False
        call.recording = None
        self._closed.append(call)
        if len(self._closed) > _MAX_ENDED:
            for step in self._closed.popleft().steps:
                self._call_of.pop(step, None)
        return True


def _copy_containers(value: Any) -> Any:
    """Copy a dict and the lists in it: the chain or its caller may modify them later."""
    if type(value) is dict:
        return {key: list(item) if type(item) is list else item for key, item in value.items()}
    return list(value) if type(value) is list else value


def _read_result(response: LLMResult) -> tuple[Any, TokenUsage]:
    """Return a model's first answer (a message, or the text of a text model) and its tokens."""
    first = next((generation for prompt in response.generations for generation in prompt), None)
    text = None if first is None else first.text
    return first.message if isinstance(first, ChatGeneration) else text, token_usage(response)


def token_usage(response: LLMResult) -> TokenUsage:
    """Return the token counts of one model call.

    Providers report usage in several fields at once; only the first field that contains any is
    read, so that nothing is counted twice. The order is the message's `usage_metadata`
    (LangChain's standard), ``llm_output``, then the metadata of message and generation, which
    streaming text models use.

    Args:
        response: The result that LangChain passes to ``on_llm_end``. If it contains several
            answers to one prompt, each repeats the usage of the whole call.

    Returns:
        The counts; None for one that is not reported.
    """
    for usage in _usage_fields(response):
        read, written = _count(usage, _INPUT_KEYS), _count(usage, _OUTPUT_KEYS)
        if read is not None or written is not None:
            cached = (_count(usage.get(details), (key,)) for details, key in _CACHED_KEYS)
            return TokenUsage(read, written, next((n for n in cached if n is not None), None))
    return TokenUsage()


def _usage_fields(response: LLMResult) -> Iterator[Any]:
    generations = [generation for prompt in response.generations for generation in prompt]
    messages = [g.message for g in generations if isinstance(g, ChatGeneration)]
    for message in messages:
        if isinstance(message, AIMessage):
            yield message.usage_metadata
    yield from _usage_in(response.llm_output)
    for message in messages:
        yield from _usage_in(message.response_metadata)
    for generation in generations:
        yield from _usage_in(generation.generation_info)


def _usage_in(metadata: Any) -> Iterator[Any]:
    if isinstance(metadata, Mapping):
        yield metadata.get("token_usage")
        yield metadata.get("usage")


def _count(usage: Any, keys: tuple[str, ...]) -> int | None:
    if not isinstance(usage, Mapping):
        return None
    counts = (usage.get(key) for key in keys)
    return next((n for n in counts if isinstance(n, int) and 0 <= n < _MAX_COUNT), None)


def _has_tool_call(chunk: Any) -> bool:
    return isinstance(chunk, ChatGenerationChunk) and bool(
        getattr(chunk.message, "tool_call_chunks", None)
    )
