"""A streamed ChatAgent response, and what streamed and complete responses share.

Protocol: MLflow 3.17's `ChatAgentChunk`. The chunks of one message share its id. The protocol has
no last event; Databricks and MLflow's agent server end a stream with ``[DONE]``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import reduce
from typing import Any

from langchain_core.messages import AIMessageChunk, InvalidToolCall, ToolCall
from langchain_core.messages.ai import UsageMetadata, add_usage
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk
from typing_extensions import override

from langchain_dbx_eval.wire.metadata import PROVIDER, decode_usage, response_metadata
from langchain_dbx_eval.wire.openai import chat
from langchain_dbx_eval.wire.stream_reader import EventReader
from langchain_dbx_eval.wire.tool_calls import arguments_text, decode_call, encoded_calls
from langchain_dbx_eval.wire.validate import (
    error_text,
    expect_dict,
    expect_text,
    parse_event,
    wrong_shape,
)

__all__ = ["METADATA", "Stream", "finish_reason", "pending_calls"]

METADATA = ("id", "model", "custom_outputs", "databricks_output", "trace_id")
"""The fields of a response that become `response_metadata`."""


class Stream(EventReader[ChatGenerationChunk]):
    """Reader of the events of one streamed response.

    Every text of the assistant is returned as it arrives, because only the end shows which is the
    last: text before a tool call is part of the stream, with an empty line after it. All messages
    are in the last chunk's ``response_metadata["messages"]``.
    """

    def __init__(self) -> None:
        super().__init__()
        self._chat: chat.Stream | None = None  # of an agent that streams chat completions
        self._messages: list[dict[str, Any]] = []
        self._last_with_text: dict[str, Any] | None = None
        self._metadata: dict[str, Any] = {}
        self._usage: dict[str, UsageMetadata] = {}
        self._reason: Any = None

    @property
    @override
    def text(self) -> str:
        return self._chat.text if self._chat else super().text

    @override
    def _decode(self, data: str) -> ChatGenerationChunk | None:
        if self._chat is not None:
            return self._decode_chat(self._chat, data)
        event = parse_event(data)
        if "choices" in event and not self._messages:
            self._chat = chat.Stream()
            return self._decode_chat(self._chat, data)
        if event.get("error") or "error_code" in event:
            raise self.failed(error_text(event))
        self._metadata |= {key: event[key] for key in METADATA if event.get(key) is not None}
        if "delta" not in event:
            if not event.keys() & {*METADATA, "usage"}:
                raise wrong_shape("a 'delta' in its events", event)
            self._add_usage("", event)
            return None
        return self._decode_delta(expect_dict(event["delta"], "an object under 'delta'"), event)

    @override
    def _last_chunk(self) -> ChatGenerationChunk | None:
        if self._chat is not None:
            return self._chat._last_chunk()
        calls = pending_calls(self._messages)
        reason = finish_reason(self._reason, has_calls=bool(calls))
        message = AIMessageChunk(
            content="",
            tool_call_chunks=[
                tool_call_chunk(
                    name=call["name"],
                    args=arguments_text(call["args"]),
                    id=call["id"],
                    index=index,
                )
                for index, call in enumerate(calls)
            ],
            usage_metadata=reduce(add_usage, self._usage.values(), None),
            response_metadata={
                **response_metadata(self._metadata, METADATA),
                "messages": self._messages,
                "finish_reason": reason,
            },
            chunk_position="last",
        )
        return ChatGenerationChunk(message=message, generation_info={"finish_reason": reason})

    def _decode_chat(self, stream: chat.Stream, data: str) -> ChatGenerationChunk | None:
        chunk = stream.feed(data)
        self.started, self.finished = stream.started, self.finished or stream.finished
        return chunk

    def _decode_delta(
        self, delta: dict[str, Any], event: dict[str, Any]
    ) -> ChatGenerationChunk | None:
        content = delta.get("content")
        if not isinstance(content, str | None):
            raise wrong_shape("text under 'content' in its deltas", event)
        reason = event.get("finish_reason")
        self._reason = reason or self._reason
        # An agent may finish one message and start another.
        self.finished = bool(reason)
        message = self._add_delta(delta)
        self.started = True
        self._add_usage(str(message.get("id")), event)
        if delta.get("role", message.get("role")) != "assistant" or not content:
            return None
        # Compared with the last message that has text, not with the last delta: a delta without
        # text may separate two pieces of one message.
        is_new = self._last_with_text is not None and self._last_with_text is not message
        text = f"\n\n{content}" if is_new else content
        self._last_with_text = message
        self._texts.append(text)
        return ChatGenerationChunk(
            message=AIMessageChunk(
                content=text,
                id=self._first_id(),
                response_metadata={"model_provider": PROVIDER},
            )
        )

    def _add_delta(self, delta: dict[str, Any]) -> dict[str, Any]:
        """Return the message of a delta, with the delta added."""
        encoded_calls(delta)  # malformed calls raise now, not at the end
        last = self._messages[-1] if self._messages else {}
        same_role = delta.get("role", last.get("role")) == last.get("role")
        if not self._messages or delta.get("id") != last.get("id") or not same_role:
            self._messages.append(dict(delta))
            return self._messages[-1]
        if delta.get("content"):
            last["content"] = (last.get("content") or "") + delta["content"]
        if delta.get("tool_calls"):
            last["tool_calls"] = [*(last.get("tool_calls") or ()), *delta["tool_calls"]]
        for key, value in delta.items():
            if key not in ("content", "tool_calls") and value is not None:
                last[key] = value
        return last

    def _first_id(self) -> str | None:
        ids = (m.get("id") for m in self._messages if m.get("role") == "assistant")
        first = next(ids, None)
        return first if isinstance(first, str) else None

    def _add_usage(self, message_id: str, event: dict[str, Any]) -> None:
        # Of one message, the last counts are kept: agents forward those of their model, which grow
        # from chunk to chunk. Different messages come from different calls of the model.
        if usage := decode_usage(event.get("usage")):
            self._usage[message_id] = usage


def pending_calls(messages: Iterable[Mapping[str, Any]]) -> list[ToolCall | InvalidToolCall]:
    """Return the calls among an agent's messages that have no result.

    Raises:
        InvalidResponseError: A call is malformed.
    """
    calls: dict[str, ToolCall | InvalidToolCall] = {}
    with_result = []
    for message in messages:
        with_result.append(message.get("tool_call_id"))
        for raw in encoded_calls(message):
            function = raw["function"]
            name, call_id = expect_text(function, "name"), expect_text(raw, "id")
            calls[call_id] = decode_call(name, function.get("arguments"), call_id)
    return [call for call in calls.values() if call["id"] not in with_result]


def finish_reason(given: Any, *, has_calls: bool) -> str:
    """Return the finish reason of a response; default: ``tool_calls`` or ``stop``."""
    return given if isinstance(given, str) and given else "tool_calls" if has_calls else "stop"
