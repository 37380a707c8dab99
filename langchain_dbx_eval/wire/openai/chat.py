"""Chat completions.

Protocol: OpenAI's "Chat Completions" API, as Databricks' chat endpoints implement it
(``llm/v1/chat``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolCallChunk,
    ToolMessage,
)
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import ValidationError
from typing_extensions import override

from langchain_dbx_eval._redaction import shorten
from langchain_dbx_eval.errors import InvalidRequestError
from langchain_dbx_eval.wire.content.blocks import BlockStream, from_openai_parts, to_openai_parts
from langchain_dbx_eval.wire.metadata import PROVIDER, decode_usage, llm_output, response_metadata
from langchain_dbx_eval.wire.stream_reader import EventReader
from langchain_dbx_eval.wire.tool_calls import decode_calls, encode_calls, encoded_calls
from langchain_dbx_eval.wire.validate import (
    expect_dict,
    expect_list,
    has_error,
    parse_event,
    wrong_shape,
)

__all__ = ["Stream", "decode", "decode_output", "encode", "role_of"]

_METADATA = ("id", "model", "system_fingerprint", "custom_outputs", "databricks_output")
_ROLES = (
    (HumanMessage, "user"),
    (AIMessage, "assistant"),
    (SystemMessage, "system"),
    (ToolMessage, "tool"),
)


def encode(messages: Sequence[BaseMessage], params: dict[str, Any]) -> dict[str, Any]:
    """Return the body of a chat request.

    Args:
        messages: The conversation; not changed.
        params: Everything else in the body (``temperature``, ``stop``, …).

    Returns:
        ``{"messages": [...], **params}``.

    Raises:
        InvalidRequestError: A message has no role in this format, or content that the format
            cannot represent.
    """
    return {"messages": [_encode_message(message) for message in messages], **params}


def decode(payload: Any) -> ChatResult:
    """Decode a chat completion.

    Args:
        payload: The decoded JSON.

    Returns:
        One generation per choice; the usage is on the first message.

    Raises:
        InvalidResponseError: The payload is not a chat completion.
    """
    response = expect_dict(payload)
    choices = expect_list(response, "choices")
    if not choices:
        raise wrong_shape("at least one of 'choices'", payload)
    usage = decode_usage(response.get("usage"))
    metadata = response_metadata(response, _METADATA)
    generations = [
        # The usage is that of the request: on each of n messages it would sum to n times.
        _decode_choice(choice, usage if number == 0 else None, metadata)
        for number, choice in enumerate(choices)
    ]
    return ChatResult(generations=generations, llm_output=llm_output(metadata, response))


def decode_output(output: Any) -> ChatResult:
    """Decode what a `transform_output_fn` or a custom chat app returns.

    Args:
        output: Text, a message (``{"role", "content"}``), or a whole chat completion.

    Raises:
        InvalidResponseError: The output is none of these.
    """
    if isinstance(output, dict) and "choices" in output:
        return decode(output)
    if isinstance(output, str):
        output = {"content": output}
    if isinstance(output, dict) and ("content" in output or "tool_calls" in output):
        return decode({"choices": [{"message": output}]})
    raise wrong_shape(
        "a string, a message with 'content', or a chat completion with 'choices'", output
    )


def role_of(message: BaseMessage, receiver: str) -> str:
    """Return the role of a message; of a `ChatMessage`, its own.

    Args:
        message: The message.
        receiver: Where it is sent, for messages, such as ``"a chat endpoint"``.

    Raises:
        InvalidRequestError: There is no role for this type of message.
    """
    if isinstance(message, ChatMessage):
        return message.role
    for message_type, role in _ROLES:
        if isinstance(message, message_type):
            return role
    hint = " Use a ToolMessage." if isinstance(message, FunctionMessage) else ""
    msg = f"A {type(message).__name__} cannot be sent to {receiver}, which has no role for it."
    raise InvalidRequestError(msg + hint)


class Stream(EventReader[ChatGenerationChunk]):
    """Reader of one streamed chat completion.

    Servers report usage cumulatively on each chunk, on a last chunk without choices, or not at
    all: the last usage received is returned once, by `finish`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._blocks = BlockStream()
        self._usage: UsageMetadata | None = None
        self._has_model_name = False

    @override
    def _decode(self, data: str) -> ChatGenerationChunk | None:
        event = parse_event(data)
        if has_error(event):
            raise self.failed(shorten(data, 200))
        self._usage = decode_usage(event.get("usage")) or self._usage
        for raw in expect_list(event, "choices"):
            choice = expect_dict(raw, "objects in 'choices'")
            # A chunk belongs to one message: of several choices, the first is streamed.
            if choice.get("index", 0) == 0:
                self.started = True
                return self._decode_choice(event, choice)
        return None

    @override
    def _last_chunk(self) -> ChatGenerationChunk:
        last = AIMessageChunk(content="", usage_metadata=self._usage, chunk_position="last")
        return ChatGenerationChunk(message=last)

    def _decode_choice(
        self, event: dict[str, Any], choice: dict[str, Any]
    ) -> ChatGenerationChunk | None:
        delta = expect_dict(choice.get("delta") or {}, "an object under 'delta'")
        content = self._blocks.feed(delta.get("content"))
        calls = encoded_calls(delta)
        info = self._generation_info(event, choice)
        extra = _additional_kwargs(delta)
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
        self._texts.append(message.text)
        return ChatGenerationChunk(message=message, generation_info=info or None)

    def _generation_info(self, event: dict[str, Any], choice: dict[str, Any]) -> dict[str, Any]:
        info: dict[str, Any] = {}
        if finish_reason := choice.get("finish_reason"):
            self.finished = True
            info["finish_reason"] = finish_reason
        # LangChain concatenates the strings in the metadata of chunks, so the name is sent once.
        if not self._has_model_name and isinstance(event.get("model"), str):
            self._has_model_name = True
            info["model_name"] = event["model"]
        if choice.get("logprobs"):
            info["logprobs"] = choice["logprobs"]
        for part in (event, choice.get("delta") or {}):
            if part.get("custom_outputs") is not None:
                info["custom_outputs"] = part["custom_outputs"]
        return info


def _encode_message(message: BaseMessage) -> dict[str, Any]:
    encoded: dict[str, Any] = {
        "role": role_of(message, "a chat endpoint"),
        "content": to_openai_parts(message.content),
    }
    if isinstance(message, ToolMessage):
        return {**encoded, "tool_call_id": message.tool_call_id}
    if isinstance(message, AIMessage) and (calls := encode_calls(message)):
        encoded["tool_calls"] = calls
        # Claude rejects an empty text beside a call (databricks-ai-bridge#333).
        encoded["content"] = encoded["content"] or " "
    if message.name:
        encoded["name"] = message.name
    return encoded


def _decode_choice(
    choice: Any, usage: UsageMetadata | None, metadata: dict[str, Any]
) -> ChatGeneration:
    choice = expect_dict(choice, "objects in 'choices'")
    expected = "an object under 'message'"
    if "text" in choice and "message" not in choice:
        expected += " (this is a text completion: call the endpoint with Databricks)"
    message = expect_dict(choice.get("message"), expected)
    calls, invalid = decode_calls(message) if message.get("tool_calls") else ([], [])
    info = {"finish_reason": choice.get("finish_reason")}
    if choice.get("logprobs"):
        info["logprobs"] = choice["logprobs"]
    if message.get("custom_outputs") is not None:
        info["custom_outputs"] = message["custom_outputs"]
    if message.get("role") not in (None, "assistant"):
        # LangChain's chat models return an AIMessage, whatever its role.
        info["role"] = message["role"]
    with _checking_types(choice):
        decoded = AIMessage(
            content=from_openai_parts(message.get("content")),
            tool_calls=calls,
            invalid_tool_calls=invalid,
            additional_kwargs=_additional_kwargs(message),
            usage_metadata=usage,
            response_metadata={**metadata, **info},
            id=metadata.get("id"),
        )
    return ChatGeneration(message=decoded, generation_info=info)


def _additional_kwargs(message: dict[str, Any]) -> dict[str, Any]:
    # LangChain's message has no fields for a refusal, nor for reasoning as plain text.
    names = ("refusal", "reasoning_content")
    return {name: message[name] for name in names if isinstance(message.get(name), str)}


def _decode_call_chunk(raw: dict[str, Any]) -> ToolCallChunk:
    function = raw["function"]
    return tool_call_chunk(
        name=function.get("name"),
        args=function.get("arguments"),
        id=raw.get("id"),
        # Without an index, langchain-core would merge chunks of different calls, or none.
        index=raw.get("index", 0),
    )


@contextmanager
def _checking_types(payload: Any) -> Iterator[None]:
    """Convert the errors of LangChain's message classes about a value of a wrong type."""
    try:
        yield
    except (ValidationError, TypeError) as error:
        raise wrong_shape("a chat message with fields of the right types", payload) from error
