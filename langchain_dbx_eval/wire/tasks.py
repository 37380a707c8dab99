"""The wire formats that chat endpoints speak, by the task that they say they have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult

from langchain_dbx_eval._internal import json_text
from langchain_dbx_eval.wire.openai import chat
from langchain_dbx_eval.wire.stream_reader import EventReader

__all__ = ["CHAT", "CHAT_TASKS", "RESPONSES", "ChatFormat", "chat_format", "reader_of_chat_agent"]

CHAT = "llm/v1/chat"
RESPONSES = "agent/v1/responses"
_CHAT_AGENT = "agent/v2/chat"
CHAT_TASKS = (CHAT, "agent/v1/chat", RESPONSES, _CHAT_AGENT)
"""``agent/v1/chat`` is MLflow's older ChatModel, which speaks chat completions; ``agent/v2/chat``
its ChatAgent."""


class ChatFormat(NamedTuple):
    """How a request is written, and how an answer and a stream are read.

    Attributes:
        encode: Makes the body of a request.
        decode: Reads an answer.
        events: Makes the reader of a stream.
        tells_usage_when_asked: Whether a stream can be asked for its token counts.
    """

    encode: Callable[[Sequence[BaseMessage], dict[str, Any]], dict[str, Any]]
    decode: Callable[[Any], ChatResult]
    events: Callable[[], EventReader[ChatGenerationChunk]]
    tells_usage_when_asked: bool


def reader_of_chat_agent(event: str) -> EventReader[ChatGenerationChunk] | None:
    """A ChatAgent's reader, if an event is one's: its ``delta`` is a message, and not nested."""
    try:
        payload = json_text.loads(event)
    except (ValueError, RecursionError):
        return None
    if not isinstance(payload, dict) or "choices" in payload:
        return None
    delta = payload.get("delta")
    if not isinstance(delta, dict) or "role" not in delta:
        return None
    return chat_format(_CHAT_AGENT).events()


def _decode_by_shape(answer: Any) -> ChatResult:
    """Read a chat completion, what an app of one's own answers, or a ChatAgent's messages."""
    if isinstance(answer, dict) and "messages" in answer and "choices" not in answer:
        return chat_format(_CHAT_AGENT).decode(answer)
    return chat.decode_answer(answer)


@cache
def chat_format(task: str) -> ChatFormat:
    """The format of a task, one of `CHAT_TASKS`; agents' codecs are loaded when first used."""
    if task == RESPONSES:
        from langchain_dbx_eval.wire.responses import answer as responses

        return ChatFormat(responses.encode, responses.decode, responses.ResponsesStream, False)
    if task == _CHAT_AGENT:
        from langchain_dbx_eval.wire.mlflow import chat_agent as agents

        return ChatFormat(agents.encode, agents.decode, agents.ChatAgentStream, False)
    return ChatFormat(chat.encode, _decode_by_shape, chat.ChatStream, True)
