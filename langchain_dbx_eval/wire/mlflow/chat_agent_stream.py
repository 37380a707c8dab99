"""A streamed ChatAgent answer, and what streamed and whole answers have in common.

Protocol: MLflow 3.17's `ChatAgentChunk`. The pieces of one message share its id. The protocol has
no last event; Databricks and MLflow's agent server end a stream with ``[DONE]``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from langchain_core.messages import AIMessageChunk
from langchain_core.messages.ai import UsageMetadata, add_usage
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk

from langchain_dbx_eval.errors import StreamInterruptedError
from langchain_dbx_eval.wire.openai.chat import PROVIDER, ChatStream
from langchain_dbx_eval.wire.responses.metadata import failure_text, read_event
from langchain_dbx_eval.wire.usage import decode_usage
from langchain_dbx_eval.wire.validate import expect_dict, expect_list, expect_text, wrong_shape

__all__ = ["ChatAgentStream", "finish_reason", "metadata_of", "pending_calls"]

_DONE = "[DONE]"
_METADATA = {
    "id": "id",
    "model": "model_name",
    "custom_outputs": "custom_outputs",
    "databricks_output": "databricks_output",
    "trace_id": "trace_id",
}


class ChatAgentStream:
    """Reads the events of one streamed answer.

    Every text of the assistant is handed on as it comes, for nobody knows yet which is the last:
    where the agent says something before it calls a tool, that is in the stream, an empty line
    before what follows. All messages, put together, are in the last chunk's
    ``response_metadata["messages"]``.
    """

    def __init__(self) -> None:
        self._chat: ChatStream | None = None  # for an agent that answers with chat completions
        self._messages: list[dict[str, Any]] = []
        self._text: list[str] = []
        self._speaker: Any = None  # the message that spoke last
        self._metadata: dict[str, Any] = {}
        self._usage: dict[str, UsageMetadata] = {}
        self._reason: Any = None
        self._finished = False

    def feed(self, data: str) -> ChatGenerationChunk | None:
        """Take one event.

        Args:
            data: The event's payload: JSON, or ``[DONE]``.

        Returns:
            What it adds to the message, or None where it adds nothing.

        Raises:
            StreamInterruptedError: The event says that the agent failed; the text so far is in
                it.
            InvalidResponseError: The event is not a chunk of such a stream.
        """
        if self._chat is not None:
            return self._chat.feed(data)
        if data == _DONE:
            self._finished = True
            return None
        event = read_event(data)
        if event.get("error") or "error_code" in event:
            failure = failure_text(event)
            raise self._interrupted(f"The agent failed in the middle of its answer: {failure}")
        if "choices" in event and not self._messages:
            self._chat = ChatStream()
            return self._chat.feed(data)
        self._metadata |= {key: event[key] for key in _METADATA if event.get(key) is not None}
        if "delta" not in event:
            if not (_METADATA.keys() | {"usage"}) & event.keys():
                raise wrong_shape("a 'delta' in its events", event)
            self._note_usage("", event)
            return None
        return self._take(expect_dict(event["delta"], "an object under 'delta'"), event)

    @property
    def started(self) -> bool:
        """Whether anything of the answer has been read, so that the call cannot begin anew."""
        return self._chat.started if self._chat else bool(self._messages)

    def finish(self) -> ChatGenerationChunk:
        """Close the stream.

        Returns:
            The last chunk: the calls that the caller is to carry out, usage and metadata.

        Raises:
            StreamInterruptedError: The stream ended without the agent having said so.
        """
        if self._chat is not None:
            return self._chat.finish()
        if not self._finished:
            raise self.cut("it ended before the agent had finished")
        calls = pending_calls(self._messages)
        reason = finish_reason(self._reason, called=bool(calls))
        usage: UsageMetadata | None = None
        for counted in self._usage.values():
            usage = add_usage(usage, counted)
        message = AIMessageChunk(
            content="",
            tool_call_chunks=[
                tool_call_chunk(
                    name=call["name"], args=_json(call["arguments"]), id=call["id"], index=index
                )
                for index, call in enumerate(calls)
            ],
            usage_metadata=usage,
            response_metadata={
                **metadata_of(self._metadata, self._messages),
                "finish_reason": reason,
            },
            chunk_position="last",
        )
        return ChatGenerationChunk(message=message, generation_info={"finish_reason": reason})

    def cut(self, reason: str) -> StreamInterruptedError:
        """The error for a stream that was lost here, with the text so far."""
        return (
            self._chat.cut(reason)
            if self._chat
            else self._interrupted(f"The stream was cut: {reason}.")
        )

    def _interrupted(self, message: str) -> StreamInterruptedError:
        return StreamInterruptedError(message, partial_text="".join(self._text))

    def _take(self, delta: dict[str, Any], event: dict[str, Any]) -> ChatGenerationChunk | None:
        content = delta.get("content")
        if not isinstance(content, str | None):
            raise wrong_shape("text under 'content' in its deltas", event)
        reason = event.get("finish_reason")
        self._reason = reason or self._reason
        # An agent may finish one message and go on with the next.
        self._finished = bool(reason)
        message = self._message_of(delta)
        self._note_usage(str(message.get("id")), event)
        if delta.get("role", message.get("role")) != "assistant" or not content:
            return None
        # Compared with what was said, not with the last delta: one without text may stand between
        # two pieces of one message.
        follows = self._speaker is not None and self._speaker is not message
        text = f"\n\n{content}" if follows else content
        self._speaker = message
        self._text.append(text)
        return ChatGenerationChunk(
            message=AIMessageChunk(
                content=text,
                id=self._first_id(),
                response_metadata={"model_provider": PROVIDER},
            )
        )

    def _message_of(self, delta: dict[str, Any]) -> dict[str, Any]:
        """The message that a delta belongs to, with the delta added."""
        last = self._messages[-1] if self._messages else {}
        same_role = delta.get("role", last.get("role")) == last.get("role")
        if not self._messages or delta.get("id") != last.get("id") or not same_role:
            self._messages.append(dict(delta))
            _check_calls(delta)
            return self._messages[-1]
        _check_calls(delta)
        if delta.get("content"):
            last["content"] = (last.get("content") or "") + delta["content"]
        if delta.get("tool_calls"):
            last["tool_calls"] = [*(last.get("tool_calls") or ()), *delta["tool_calls"]]
        for key, value in delta.items():
            if key not in ("content", "tool_calls") and value is not None:
                last[key] = value
        return last

    def _first_id(self) -> str | None:
        spoken = (m.get("id") for m in self._messages if m.get("role") == "assistant")
        first = next(spoken, None)
        return first if isinstance(first, str) else None

    def _note_usage(self, message_id: str, event: dict[str, Any]) -> None:
        # Of one message the last count stands: agents pass on their model's, which grows from
        # chunk to chunk. The counts of several messages are those of several calls.
        if usage := decode_usage(event.get("usage")):
            self._usage[message_id] = usage


def pending_calls(messages: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The calls among an agent's messages that no message answers.

    Returns:
        Of each its ``name``, ``arguments`` and ``id``.

    Raises:
        InvalidResponseError: A call is not of the shape of one.
    """
    calls: dict[str, dict[str, Any]] = {}
    answered = []
    for message in messages:
        answered.append(message.get("tool_call_id"))
        for raw in _check_calls(message):
            function = raw["function"]
            name, call_id = expect_text(function, "name"), expect_text(raw, "id")
            told = {"name": name, "arguments": function.get("arguments"), "id": call_id}
            calls[call_id] = told
    return [call for call in calls.values() if call["id"] not in answered]


def finish_reason(given: Any, *, called: bool) -> str:
    """Why an answer ended: as it says, or as it looks."""
    return given if isinstance(given, str) and given else "tool_calls" if called else "stop"


def metadata_of(answer: Mapping[str, Any], messages: list[dict[str, Any]]) -> dict[str, Any]:
    """The `response_metadata` of an answer, but for its `finish_reason`."""
    told = {
        name: answer[key]
        for key, name in _METADATA.items()
        if answer.get(key) is not None
        # LangChain and its tracers expect text in these two.
        and (key not in ("id", "model") or isinstance(answer[key], str))
    }
    return {"model_provider": PROVIDER, **told, "messages": messages}


def _check_calls(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    if not message.get("tool_calls"):
        return []
    calls = expect_list(dict(message), "tool_calls")
    for call in calls:
        function = expect_dict(call, "objects in 'tool_calls'").get("function")
        expect_dict(function, "a 'function' to call")
    return calls


def _json(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments or {})
