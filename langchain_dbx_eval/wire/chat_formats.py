"""The wire formats that chat endpoints speak, by the task that they say they have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult

from langchain_dbx_eval import json_text
from langchain_dbx_eval.wire import agents, chat, responses
from langchain_dbx_eval.wire.stream_reader import EventReader

__all__ = ["CHAT", "CHAT_FORMATS", "RESPONSES", "ChatFormat", "reader_of_chat_agent"]

CHAT = "llm/v1/chat"
RESPONSES = "agent/v1/responses"


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
    return agents.ChatAgentStream() if isinstance(delta, dict) and "role" in delta else None


def _decode_by_shape(answer: Any) -> ChatResult:
    """Read a chat completion, what an app of one's own answers, or a ChatAgent's messages."""
    if isinstance(answer, dict) and "messages" in answer and "choices" not in answer:
        return agents.decode(answer)
    return chat.decode_answer(answer)


_COMPLETIONS = ChatFormat(chat.encode, _decode_by_shape, chat.ChatStream, True)

CHAT_FORMATS = {
    CHAT: _COMPLETIONS,
    # MLflow's older ChatModel, which speaks chat completions.
    "agent/v1/chat": _COMPLETIONS,
    RESPONSES: ChatFormat(responses.encode, responses.decode, responses.ResponsesStream, False),
    "agent/v2/chat": ChatFormat(agents.encode, agents.decode, agents.ChatAgentStream, False),
}
"""The formats by task. ``agent/v2/chat`` is MLflow's ChatAgent."""
