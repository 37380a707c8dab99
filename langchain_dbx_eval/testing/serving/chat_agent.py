"""Endpoints with an MLflow ChatAgent.

The protocol and its validation follow `mlflow.types.agent`, read in MLflow 3.17.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

from langchain_dbx_eval.driver.engines.base import Generation
from langchain_dbx_eval.testing.errors import bad_request
from langchain_dbx_eval.testing.serving.endpoints import Endpoint, EventStream
from langchain_dbx_eval.testing.serving.openai import require_input, validate_messages
from langchain_dbx_eval.testing.serving.text import count_tokens, split_words, usage

__all__ = ["answer"]

_IGNORABLE = frozenset({"context", "custom_inputs", "databricks_options"})


def answer(endpoint: Endpoint, body: dict[str, Any]) -> dict[str, Any] | EventStream:
    """Return the agent's messages, or their chunks.

    Raises:
        ApiError: The request is invalid.
        TypeError: The backend returned something other than texts or messages.
    """
    require_input(body, "messages")
    messages = body["messages"]
    validate_messages(messages)
    _validate_content(messages)
    params = {k: v for k, v in body.items() if k not in ("messages", "model", "stream")}
    reply = endpoint.backend.invoke(messages, params, ignorable=_IGNORABLE)
    response = _response(reply, messages)
    return EventStream(list(_chunks(response))) if body.get("stream") is True else response


def _validate_content(messages: list[dict[str, Any]]) -> None:
    for message in messages:
        content = message.get("content")
        if not isinstance(content, str | None):
            raise bad_request(
                "Invalid dictionary input for a ChatAgent: 'content' must be a string."
            )
        if content is None and message.get("tool_calls") is None:
            raise bad_request("Either 'content' or 'tool_calls' must be provided.")
        has_names = message.get("name") and message.get("tool_call_id")
        if message["role"] == "tool" and not has_names:
            raise bad_request("Both 'name' and 'tool_call_id' must be provided for tool messages.")


def _response(reply: Any, prompt: list[dict[str, Any]]) -> dict[str, Any]:
    is_response = isinstance(reply, dict) and "messages" in reply
    response: dict[str, Any] = dict(reply) if is_response else {"messages": reply}
    messages = response["messages"]
    response["messages"] = [
        _message(one) for one in (messages if isinstance(messages, list) else [messages])
    ]
    if "usage" not in response:
        prompt_tokens, completion_tokens = (
            sum(count_tokens(message.get("content") or "") for message in group)
            for group in (prompt, response["messages"])
        )
        response["usage"] = usage(prompt_tokens, completion_tokens)
    return response


def _message(reply: Any) -> dict[str, Any]:
    if isinstance(reply, str | Generation):
        reply = {"content": reply if isinstance(reply, str) else reply.text}
    if not isinstance(reply, dict):
        msg = f"A chat agent requires texts or messages, but got {type(reply)}."
        raise TypeError(msg)
    return {"role": "assistant", "id": str(uuid.uuid4()), **reply}


def _chunks(response: dict[str, Any]) -> Iterator[dict[str, Any]]:
    deltas = [delta for message in response["messages"] for delta in _deltas(message)]
    rest = {key: value for key, value in response.items() if key != "messages"}
    yield from ({"delta": delta} for delta in deltas[:-1])
    yield {"delta": deltas[-1], **rest}


def _deltas(message: dict[str, Any]) -> list[dict[str, Any]]:
    """Split a message of the assistant by words; other messages are one delta."""
    words = split_words(message.get("content") or "")
    if message["role"] != "assistant" or len(words) < 2:
        return [message]
    header = {"role": message["role"], "id": message["id"]}
    return [
        *({**header, "content": word} for word in words[:-1]),
        {**message, "content": words[-1]},
    ]
