"""Chat completions: LangChain messages to OpenAI's JSON and back.

Protocol: OpenAI's "Chat Completions" API, as Databricks' chat endpoints speak it
(``llm/v1/chat``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, cast

from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    InvalidToolCall,
    SystemMessage,
    ToolCall,
    ToolCallChunk,
    ToolMessage,
)
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.output_parsers.openai_tools import make_invalid_tool_call, parse_tool_call
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import ValidationError

from langchain_dbx_eval._internal import json_text
from langchain_dbx_eval.errors import InvalidRequestError, StreamInterruptedError
from langchain_dbx_eval.wire.content.blocks import BlockStream, from_openai_parts, to_openai_parts
from langchain_dbx_eval.wire.usage import decode_usage
from langchain_dbx_eval.wire.validate import expect_dict, expect_list, is_failure, wrong_shape

__all__ = ["PROVIDER", "ChatStream", "decode", "decode_answer", "encode", "encode_message"]

PROVIDER = "databricks"
"""The provider's name in a message's metadata, by which core finds our block translator."""

_DONE = "[DONE]"
_METADATA = (
    ("id", "id"),
    ("model", "model_name"),
    ("system_fingerprint", "system_fingerprint"),
    ("custom_outputs", "custom_outputs"),
    ("databricks_output", "databricks_output"),
)


def encode(messages: Sequence[BaseMessage], params: dict[str, Any]) -> dict[str, Any]:
    """Make the body of a chat request.

    Args:
        messages: The conversation so far; they are not changed.
        params: Everything else of the body (``temperature``, ``stop``, …).

    Returns:
        ``{"messages": [...], **params}``.

    Raises:
        InvalidRequestError: A message is of a kind that the wire format has no role for, or holds
            content that it cannot carry.
    """
    return {"messages": [encode_message(message) for message in messages], **params}


def encode_message(message: BaseMessage) -> dict[str, Any]:
    """Make one message of the wire: ``{"role", "content", …}``.

    Raises:
        InvalidRequestError: See `encode`.
    """
    encoded: dict[str, Any] = {"role": _role(message), "content": to_openai_parts(message.content)}
    if isinstance(message, ToolMessage):
        return {**encoded, "tool_call_id": message.tool_call_id}
    if isinstance(message, AIMessage) and (message.tool_calls or message.invalid_tool_calls):
        encoded["tool_calls"] = [
            *(_encode_call(call, json.dumps(call["args"])) for call in message.tool_calls),
            *(_encode_call(bad, bad["args"] or "") for bad in message.invalid_tool_calls),
        ]
        # Claude refuses an empty text beside a call (databricks-ai-bridge#333).
        encoded["content"] = encoded["content"] or " "
    if message.name:
        encoded["name"] = message.name
    return encoded


def decode(payload: Any) -> ChatResult:
    """Read the answer to a chat request.

    Args:
        payload: The decoded JSON.

    Returns:
        One generation a choice; the usage is on the first one's message.

    Raises:
        InvalidResponseError: The payload is not a chat completion.
    """
    answer = expect_dict(payload)
    choices = expect_list(answer, "choices")
    if not choices:
        raise wrong_shape("at least one of 'choices'", payload)
    usage = decode_usage(answer.get("usage"))
    metadata = {
        "model_provider": PROVIDER,
        **{name: answer[key] for key, name in _METADATA if answer.get(key) is not None},
    }
    generations = [
        # Usage is the request's, not a choice's: on each of n messages it would sum to n times.
        _decode_choice(choice, usage if number == 0 else None, metadata)
        for number, choice in enumerate(choices)
    ]
    told = {
        name: metadata[name] for name in ("model_name", "system_fingerprint") if name in metadata
    }
    return ChatResult(
        generations=generations,
        llm_output={**told, **({"token_usage": answer["usage"]} if usage else {})},
    )


def decode_answer(answer: Any) -> ChatResult:
    """Read what a custom chat app or a `transform_output_fn` gives.

    Args:
        answer: The text, a message (``{"role", "content"}``), or a whole chat completion.

    Raises:
        InvalidResponseError: It is none of these.
    """
    if isinstance(answer, dict) and "choices" in answer:
        return decode(answer)
    if isinstance(answer, str):
        answer = {"content": answer}
    if isinstance(answer, dict) and ("content" in answer or "tool_calls" in answer):
        return decode({"choices": [{"message": answer}]})
    raise wrong_shape(
        "a text, a message with 'content', or a chat completion with 'choices'", answer
    )


class ChatStream:
    """Reads the events of one streamed chat completion.

    Usage comes in three ways (cumulative on each chunk, on a last chunk without choices, not at
    all): the last that was seen is handed on once, at the end.
    """

    def __init__(self) -> None:
        self._text: list[str] = []
        self._blocks = BlockStream()
        self._usage: UsageMetadata | None = None
        self._model_told = False
        self._started = False
        self._finished = False

    @property
    def started(self) -> bool:
        """Whether an event with a choice has been read, so that the call cannot begin anew."""
        return self._started

    def feed(self, data: str) -> ChatGenerationChunk | None:
        """Take one event.

        Args:
            data: The event's payload: JSON, or ``[DONE]``.

        Returns:
            What it adds to the message, or None where it adds nothing.

        Raises:
            StreamInterruptedError: The event says that the model failed; the text so far is in
                it.
            InvalidResponseError: The event is not a chunk of a chat completion.
        """
        if data == _DONE:
            self._finished = True
            return None
        try:
            event = expect_dict(json_text.loads(data))
        except ValueError:
            raise wrong_shape("JSON in its events", data) from None
        if is_failure(event):
            raise self._interrupted(f"The model failed in the middle of its answer: {data[:200]}")
        self._usage = decode_usage(event.get("usage")) or self._usage
        for raw in expect_list(event, "choices"):
            choice = expect_dict(raw, "objects in 'choices'")
            # A chunk is of one message: of several choices, the first is streamed.
            if choice.get("index", 0) == 0:
                self._started = True
                return self._chunk(event, choice)
        return None

    def finish(self) -> ChatGenerationChunk:
        """Close the stream.

        Returns:
            The last chunk, which carries the usage.

        Raises:
            StreamInterruptedError: The stream ended without the model having said so.
        """
        if not self._finished:
            raise self.cut("it ended before the model had finished")
        last = AIMessageChunk(content="", usage_metadata=self._usage, chunk_position="last")
        return ChatGenerationChunk(message=last)

    def cut(self, reason: str) -> StreamInterruptedError:
        """The error for a stream that was lost here, with the text so far."""
        return self._interrupted(f"The stream was cut: {reason}.")

    def _chunk(self, event: dict[str, Any], choice: dict[str, Any]) -> ChatGenerationChunk | None:
        delta = expect_dict(choice.get("delta") or {}, "an object under 'delta'")
        content = self._blocks.feed(delta.get("content"))
        calls = _tool_calls(delta)
        info = self._info(event, choice)
        extra = _additional(delta)
        if not (content or calls or info or extra):
            return None
        with _checking_types(event):
            message = AIMessageChunk(
                content=content,
                tool_call_chunks=[_decode_call_chunk(call) for call in calls],
                additional_kwargs=extra,
                id=event.get("id"),
                response_metadata={"model_provider": PROVIDER} if "model_name" in info else {},
            )
        self._text.append(message.text)
        return ChatGenerationChunk(message=message, generation_info=info or None)

    def _info(self, event: dict[str, Any], choice: dict[str, Any]) -> dict[str, Any]:
        info: dict[str, Any] = {}
        if finish_reason := choice.get("finish_reason"):
            self._finished = True
            info["finish_reason"] = finish_reason
        # Chunks are added up, and texts in their metadata joined: so the name is told once.
        if not self._model_told and isinstance(event.get("model"), str):
            self._model_told = True
            info["model_name"] = event["model"]
        if choice.get("logprobs"):
            info["logprobs"] = choice["logprobs"]
        if event.get("custom_outputs") is not None:
            info["custom_outputs"] = event["custom_outputs"]
        return info

    def _interrupted(self, message: str) -> StreamInterruptedError:
        return StreamInterruptedError(message, partial_text="".join(self._text))


def _role(message: BaseMessage) -> str:
    if isinstance(message, ChatMessage):
        return message.role
    roles: tuple[tuple[type[BaseMessage], Literal["user", "assistant", "system", "tool"]], ...] = (
        (HumanMessage, "user"),
        (AIMessage, "assistant"),
        (SystemMessage, "system"),
        (ToolMessage, "tool"),
    )
    for kind, role in roles:
        if isinstance(message, kind):
            return role
    hint = " Use a ToolMessage." if isinstance(message, FunctionMessage) else ""
    msg = f"A {type(message).__name__} cannot be sent to a chat endpoint: it has no role for it."
    raise InvalidRequestError(msg + hint)


def _encode_call(call: ToolCall | InvalidToolCall, arguments: str) -> dict[str, Any]:
    return {
        "type": "function",
        "id": call["id"],
        "function": {"name": call["name"], "arguments": arguments},
    }


def _decode_choice(
    choice: Any, usage: UsageMetadata | None, metadata: dict[str, Any]
) -> ChatGeneration:
    choice = expect_dict(choice, "objects in 'choices'")
    message = expect_dict(choice.get("message"), "an object under 'message'")
    calls: list[ToolCall] = []
    invalid: list[InvalidToolCall] = []
    for raw in _tool_calls(message):
        try:
            parsed = parse_tool_call(raw, return_id=True)
        except Exception as error:  # core raises many kinds; all mean: no call
            invalid.append(make_invalid_tool_call(raw, str(error)))
        else:
            calls += [cast("ToolCall", parsed)] if parsed else []
    info = {"finish_reason": choice.get("finish_reason")}
    if choice.get("logprobs"):
        info["logprobs"] = choice["logprobs"]
    with _checking_types(choice):
        answer = AIMessage(
            content=from_openai_parts(message.get("content")),
            tool_calls=calls,
            invalid_tool_calls=invalid,
            additional_kwargs=_additional(message),
            usage_metadata=usage,
            response_metadata={**metadata, **info},
            id=metadata.get("id"),
        )
    return ChatGeneration(message=answer, generation_info=info)


def _additional(message: dict[str, Any]) -> dict[str, Any]:
    """What has no place of its own in LangChain's message: a refusal, and reasoning as a text."""
    names = ("refusal", "reasoning_content")
    return {name: message[name] for name in names if isinstance(message.get(name), str)}


def _tool_calls(message: dict[str, Any]) -> list[dict[str, Any]]:
    """The message's tool calls, each with an object under ``function``."""
    if not message.get("tool_calls"):
        return []
    calls = [expect_dict(c, "objects in 'tool_calls'") for c in expect_list(message, "tool_calls")]
    return [
        {**c, "function": expect_dict(c.get("function"), "a 'function' to call")} for c in calls
    ]


def _decode_call_chunk(raw: dict[str, Any]) -> ToolCallChunk:
    function = raw["function"]
    return tool_call_chunk(
        name=function.get("name"),
        args=function.get("arguments"),
        id=raw.get("id"),
        # Without a number, core would join the pieces of different calls, or none of them.
        index=raw.get("index", 0),
    )


@contextmanager
def _checking_types(payload: Any) -> Iterator[None]:
    """Refuse a payload in which LangChain's own message class finds a value of a wrong type."""
    try:
        yield
    except (ValidationError, TypeError) as error:
        expected = "the types of a chat message in its places"
        raise wrong_shape(expected, payload) from error
