"""Chat endpoints whose format is recognized by the shape of the response.

An endpoint of task ``llm/v1/chat``, or one whose task is not given, may serve chat completions, a
MLflow ChatAgent, or an app that answers with plain text or one message.
"""

from __future__ import annotations

from typing import Any

from langchain_core.outputs import ChatGenerationChunk, ChatResult

from langchain_dbx_eval.errors import InvalidResponseError
from langchain_dbx_eval.wire.openai import chat
from langchain_dbx_eval.wire.stream_reader import EventReader
from langchain_dbx_eval.wire.tasks import ChatCodec
from langchain_dbx_eval.wire.validate import parse_event

__all__ = ["CODEC", "decode", "recognize"]


def decode(payload: Any) -> ChatResult:
    """Decode a chat completion, a ChatAgent's response, plain text, or one message.

    Raises:
        InvalidResponseError: The payload is none of these.
        ServerError: A ChatAgent reported an error.
    """
    if isinstance(payload, dict) and "messages" in payload and payload.get("choices") is None:
        # Imported by the first response of an agent: most processes need chat completions only.
        from langchain_dbx_eval.wire.mlflow import chat_agent

        return chat_agent.decode(payload)
    return chat.decode_output(payload)


def recognize(event: str) -> EventReader[ChatGenerationChunk] | None:
    """Return the reader of a ChatAgent's stream if an event belongs to one.

    Its ``delta`` is a message with a role, and not nested in ``choices``.
    """
    try:
        payload = parse_event(event)
    except InvalidResponseError:
        return None
    delta = payload.get("delta")
    is_agent = isinstance(delta, dict) and "role" in delta and payload.get("choices") is None
    if not is_agent:
        return None
    from langchain_dbx_eval.wire.mlflow import chat_agent

    return chat_agent.Stream()


CODEC = ChatCodec(
    encode=chat.encode,
    decode=decode,
    stream=chat.Stream,
    recognize=recognize,
    has_usage_option=True,
    has_optional_names=True,
)
