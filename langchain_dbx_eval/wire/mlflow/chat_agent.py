"""Agents in MLflow's older form: LangChain messages to ChatAgent's messages and back.

Protocol: MLflow 3.17's `mlflow.types.agent` and `mlflow.pyfunc.ChatAgent`, as endpoints of task
``agent/v2/chat`` speak it. Endpoints of task ``agent/v1/chat`` (MLflow's ChatModel) answer with
chat completions; such answers are read here too.

An agent answers with every message of its work: what it said, which tools it called, what they
gave. The message handed back is the assistant's last one that has text; all of them are in
``response_metadata["messages"]``. Calls whose results stand among the messages were carried out
by the agent; only the others are `tool_calls`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    InvalidToolCall,
    SystemMessage,
    ToolCall,
    ToolMessage,
)
from langchain_core.outputs import ChatGeneration, ChatResult

from langchain_dbx_eval.errors import InvalidRequestError, ServerError
from langchain_dbx_eval.wire.content.blocks import elsewhere, plain_text, unwrapped
from langchain_dbx_eval.wire.mlflow.chat_agent_stream import (
    ChatAgentStream,
    finish_reason,
    metadata_of,
    pending_calls,
)
from langchain_dbx_eval.wire.openai import chat
from langchain_dbx_eval.wire.responses.items import parse_call
from langchain_dbx_eval.wire.responses.metadata import failure_text, llm_output_of
from langchain_dbx_eval.wire.usage import decode_usage
from langchain_dbx_eval.wire.validate import expect_dict, expect_list, wrong_shape

__all__ = ["ChatAgentStream", "decode", "encode"]

# Parameters of the other chat protocols that this one has no place for.
_NO_PLACE = frozenset(
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
# LangChain's own ids begin with these; only the agent's mean anything to it.
_MADE_UP_IDS = ("lc_", "run-")


def encode(messages: Sequence[BaseMessage], params: dict[str, Any]) -> dict[str, Any]:
    """Make the body of a ChatAgent request.

    Args:
        messages: The conversation so far; it is not changed. Its reasoning is left out.
        params: Everything else of the body: ``custom_inputs``, ``context`` (``conversation_id``,
            ``user_id``), ``stream``, and what an endpoint takes beside the protocol.

    Returns:
        ``{"messages": [...], **params}``.

    Raises:
        InvalidRequestError: A message holds more than text, or is of a kind without a role, or a
            parameter has no place in this protocol; the message says which, and what to do.
    """
    body = {key: value for key, value in params.items() if key != "stream_options"}
    if body.get("n") in (None, 1):
        body.pop("n", None)
    refused = sorted(key for key in (*_NO_PLACE, "n") if body.get(key) not in (None, []))
    if refused:
        msg = (
            f"A ChatAgent endpoint takes no {', '.join(map(repr, refused))}: the agent decides "
            "such things itself. Leave it out; if this agent reads it, give it in 'custom_inputs'."
        )
        raise InvalidRequestError(msg)
    names = {
        call["id"]: call["name"]
        for message in messages
        if isinstance(message, AIMessage)
        for call in (*message.tool_calls, *message.invalid_tool_calls)
    }
    encoded = [_encode_message(message, names) for message in messages]
    return {"messages": encoded, **{k: v for k, v in body.items() if k not in _NO_PLACE}}


def decode(payload: Any) -> ChatResult:
    """Read the answer of a ChatAgent.

    Args:
        payload: The decoded JSON: ``{"messages": [...]}``, or a chat completion.

    Returns:
        One generation (see the module for which message it is); its ``finish_reason`` is the
        answer's, or ``tool_calls`` or ``stop`` where it gives none.

    Raises:
        ServerError: The answer says that the agent failed.
        InvalidResponseError: The payload is not such an answer, or has no message of the
            assistant.
    """
    answer = expect_dict(payload)
    if "choices" in answer:
        return chat.decode(answer)
    if answer.get("error") or "error_code" in answer:
        msg = f"The agent failed to answer: {failure_text(answer)}"
        raise ServerError(msg)
    messages = [expect_dict(m, "objects in 'messages'") for m in expect_list(answer, "messages")]
    message = _last_answer(messages)
    calls, invalid = _read_calls(pending_calls(messages))
    metadata = metadata_of(answer, messages)
    reason = finish_reason(answer.get("finish_reason"), called=bool(calls or invalid))
    name, message_id, attachments = (message.get(key) for key in ("name", "id", "attachments"))
    generated = AIMessage(
        content=message.get("content") or "",
        name=name if isinstance(name, str) else None,
        tool_calls=calls,
        invalid_tool_calls=invalid,
        additional_kwargs={"attachments": attachments} if isinstance(attachments, dict) else {},
        usage_metadata=decode_usage(answer.get("usage")),
        response_metadata={**metadata, "finish_reason": reason},
        id=message_id if isinstance(message_id, str) else None,
    )
    generation = ChatGeneration(message=generated, generation_info={"finish_reason": reason})
    return ChatResult(generations=[generation], llm_output=llm_output_of(metadata, answer))


def _encode_message(message: BaseMessage, names: Mapping[Any, str | None]) -> dict[str, Any]:
    encoded: dict[str, Any] = {"role": _role(message), "content": _text(message)}
    if message.name:
        encoded["name"] = message.name
    if isinstance(message, ToolMessage):
        # MLflow refuses a tool's message without a name, and LangChain seldom gives one.
        encoded.setdefault("name", names.get(message.tool_call_id) or "tool")
        encoded["tool_call_id"] = message.tool_call_id
    if isinstance(message, AIMessage):
        if message.id and not message.id.startswith(_MADE_UP_IDS):
            encoded["id"] = message.id
        if calls := [*message.tool_calls, *message.invalid_tool_calls]:
            encoded["tool_calls"] = [_encode_call(call) for call in calls]
    if isinstance(attachments := message.additional_kwargs.get("attachments"), Mapping):
        encoded["attachments"] = dict(attachments)
    return encoded


def _role(message: BaseMessage) -> str:
    if isinstance(message, ChatMessage):
        return message.role
    kinds = (
        (HumanMessage, "user"),
        (AIMessage, "assistant"),
        (SystemMessage, "system"),
        (ToolMessage, "tool"),
    )
    for kind, role in kinds:
        if isinstance(message, kind):
            return role
    msg = f"A {type(message).__name__} cannot be sent to a ChatAgent: it has no role for it."
    raise InvalidRequestError(msg)


def _text(message: BaseMessage) -> str:
    if isinstance(message.content, str):
        return message.content
    texts = []
    for raw in message.content:
        block = unwrapped(raw)
        if elsewhere(block) or block["type"] in ("reasoning", "thinking"):
            continue
        text = plain_text(block)
        if text is None:
            msg = (
                f"A ChatAgent's messages are text, so a content block of type {block['type']!r} "
                "cannot be sent. Take it out, or use a ResponsesAgent or a chat endpoint."
            )
            raise InvalidRequestError(msg)
        texts.append(text)
    return "\n".join(texts)


def _encode_call(call: Any) -> dict[str, Any]:
    args = call["args"]
    arguments = args if isinstance(args, str) else json.dumps(args or {}, ensure_ascii=False)
    function = {"name": call["name"], "arguments": arguments}
    return {"id": call["id"], "type": "function", "function": function}


def _last_answer(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """The assistant's last message that has text, else its last one."""
    spoken = [message for message in messages if message.get("role") == "assistant"]
    if not spoken:
        raise wrong_shape("a message of the assistant under 'messages'", messages)
    for message in spoken:
        if not isinstance(message.get("content"), str | None):
            raise wrong_shape("text under 'content' in its messages", message)
    return next((m for m in reversed(spoken) if m.get("content")), spoken[-1])


def _read_calls(
    raw: Iterable[Mapping[str, Any]],
) -> tuple[list[ToolCall], list[InvalidToolCall]]:
    calls: list[ToolCall] = []
    invalid: list[InvalidToolCall] = []
    for call in raw:
        parsed: Any = parse_call(call["name"], call["arguments"], call["id"])
        (calls if parsed["type"] == "tool_call" else invalid).append(parsed)
    return calls, invalid
