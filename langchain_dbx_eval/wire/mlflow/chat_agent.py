"""MLflow's ChatAgent.

Protocol: MLflow 3.17's `mlflow.types.agent` and `mlflow.pyfunc.ChatAgent`, as endpoints of task
``agent/v2/chat`` implement it. Endpoints of task ``agent/v1/chat`` (MLflow's ChatModel) answer with
chat completions; such responses are decoded here too.

An agent returns every message of its work: its texts, its tool calls and their results. The
generated message is the last message of the assistant that has text; all messages are in
``response_metadata["messages"]``. Calls whose results are among the messages were run by the agent;
only the others are `tool_calls`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ToolMessage,
)
from langchain_core.outputs import ChatGeneration, ChatResult

from langchain_dbx_eval.errors import InvalidRequestError, ServerError
from langchain_dbx_eval.wire.codec import ChatCodec
from langchain_dbx_eval.wire.content.blocks import is_not_content, plain_text, unwrap
from langchain_dbx_eval.wire.metadata import (
    decode_usage,
    is_provider_id,
    llm_output,
    response_metadata,
)
from langchain_dbx_eval.wire.mlflow.chat_agent_stream import (
    METADATA,
    Stream,
    finish_reason,
    pending_calls,
)
from langchain_dbx_eval.wire.openai import chat
from langchain_dbx_eval.wire.tool_calls import encode_calls, split_calls
from langchain_dbx_eval.wire.validate import error_text, expect_dict, expect_list, wrong_shape

__all__ = ["CODEC", "Stream", "decode", "encode"]

# Parameters of other chat protocols that this one does not have.
_UNSUPPORTED = frozenset(
    {
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_output_tokens",
        "max_tokens",
        "parallel_tool_calls",
        "presence_penalty",
        "reasoning_effort",
        "response_format",
        "seed",
        "stop",
        "temperature",
        "tool_choice",
        "tools",
        "top_k",
        "top_logprobs",
        "top_p",
    }
)


def encode(messages: Sequence[BaseMessage], params: dict[str, Any]) -> dict[str, Any]:
    """Return the body of a ChatAgent request.

    Args:
        messages: The conversation; not changed. Reasoning is omitted.
        params: Everything else in the body: ``custom_inputs``, ``context`` (``conversation_id``,
            ``user_id``), ``stream``, and fields that the endpoint adds to the protocol.

    Returns:
        ``{"messages": [...], **params}``.

    Raises:
        InvalidRequestError: A message contains more than text or has no role, or the protocol does
            not support a parameter; the error names it, and an alternative.
    """
    body = {key: value for key, value in params.items() if key != "stream_options"}
    if body.get("n") in (None, 1):
        body.pop("n", None)
    unsupported = sorted(key for key in (*_UNSUPPORTED, "n") if body.get(key) not in (None, []))
    if unsupported:
        msg = (
            f"A ChatAgent endpoint has no parameter {', '.join(map(repr, unsupported))}: the agent "
            "decides this itself. Leave it out; if this agent supports it, pass it in "
            "'custom_inputs'."
        )
        raise InvalidRequestError(msg)
    names = {
        call["id"]: call["name"]
        for message in messages
        if isinstance(message, AIMessage)
        for call in (*message.tool_calls, *message.invalid_tool_calls)
    }
    encoded = [_encode_message(message, names) for message in messages]
    return {"messages": encoded, **{k: v for k, v in body.items() if k not in _UNSUPPORTED}}


def decode(payload: Any) -> ChatResult:
    """Decode the response of a ChatAgent.

    Args:
        payload: The decoded JSON: ``{"messages": [...]}``, or a chat completion.

    Returns:
        One generation (see the module for its message); its ``finish_reason`` is the response's,
        else ``tool_calls`` or ``stop``.

    Raises:
        ServerError: The agent reported an error.
        InvalidResponseError: The payload is of another shape, or has no message of the assistant.
    """
    response = expect_dict(payload)
    if "choices" in response:
        return chat.decode(response)
    if response.get("error") or "error_code" in response:
        msg = f"The agent failed to answer: {error_text(response)}"
        raise ServerError(msg)
    messages = [expect_dict(m, "objects in 'messages'") for m in expect_list(response, "messages")]
    message = _last_answer(messages)
    calls, invalid = split_calls(pending_calls(messages))
    metadata = {**response_metadata(response, METADATA), "messages": messages}
    reason = finish_reason(response.get("finish_reason"), has_calls=bool(calls or invalid))
    name, message_id, attachments = (message.get(key) for key in ("name", "id", "attachments"))
    generated = AIMessage(
        content=message.get("content") or "",
        name=name if isinstance(name, str) else None,
        tool_calls=calls,
        invalid_tool_calls=invalid,
        additional_kwargs={"attachments": attachments} if isinstance(attachments, dict) else {},
        usage_metadata=decode_usage(response.get("usage")),
        response_metadata={**metadata, "finish_reason": reason},
        id=message_id if isinstance(message_id, str) else None,
    )
    generation = ChatGeneration(message=generated, generation_info={"finish_reason": reason})
    return ChatResult(generations=[generation], llm_output=llm_output(metadata, response))


CODEC = ChatCodec(encode=encode, decode=decode, stream=Stream)


def _encode_message(message: BaseMessage, names: Mapping[Any, str | None]) -> dict[str, Any]:
    encoded: dict[str, Any] = {
        "role": chat.role_of(message, "a ChatAgent"),
        "content": _text(message),
    }
    if message.name:
        encoded["name"] = message.name
    if isinstance(message, ToolMessage):
        # MLflow rejects a tool message without a name, and LangChain seldom sets one.
        encoded.setdefault("name", names.get(message.tool_call_id) or "tool")
        encoded["tool_call_id"] = message.tool_call_id
    if isinstance(message, AIMessage):
        if is_provider_id(message.id):
            encoded["id"] = message.id
        if calls := encode_calls(message):
            encoded["tool_calls"] = calls
    if isinstance(attachments := message.additional_kwargs.get("attachments"), Mapping):
        encoded["attachments"] = dict(attachments)
    return encoded


def _text(message: BaseMessage) -> str:
    if isinstance(message.content, str):
        return message.content
    texts = []
    for raw in message.content:
        block = unwrap(raw)
        if is_not_content(block) or block["type"] in ("reasoning", "thinking"):
            continue
        text = plain_text(block)
        if text is None:
            msg = (
                f"A ChatAgent accepts text only, so a content block of type {block['type']!r} "
                "cannot be sent. Remove it, or use a ResponsesAgent or a chat endpoint."
            )
            raise InvalidRequestError(msg)
        texts.append(text)
    return "\n".join(texts)


def _last_answer(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the assistant's last message that has text, else its last message."""
    answers = [message for message in messages if message.get("role") == "assistant"]
    if not answers:
        raise wrong_shape("a message of the assistant under 'messages'", messages)
    for message in answers:
        if not isinstance(message.get("content"), str | None):
            raise wrong_shape("text under 'content' in its messages", message)
    return next((m for m in reversed(answers) if m.get("content")), answers[-1])
