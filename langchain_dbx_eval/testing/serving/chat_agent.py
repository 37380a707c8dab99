"""What an endpoint with a ChatAgent answers.

The protocol is MLflow's (`mlflow.types.agent`, read in 3.17), and so are the checks.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

from langchain_dbx_eval.driver.engines.base import Generation
from langchain_dbx_eval.testing.errors import bad_request, invalid_parameter, unknown_field
from langchain_dbx_eval.testing.serving.endpoints import Endpoint
from langchain_dbx_eval.testing.serving.llm import EventStream, count_tokens, pieces, usage

__all__ = ["answer"]

_OPTIONAL = frozenset({"context", "custom_inputs", "databricks_options"})


def answer(endpoint: Endpoint, body: dict[str, Any]) -> dict[str, Any] | EventStream:
    """The agent's messages, or their chunks.

    Raises:
        Refusal: `messages` is missing or is no conversation, or a field is unknown.
        TypeError: The function returned nothing that messages can be made of.
    """
    if "messages" not in body:
        raise (
            unknown_field("input")
            if "input" in body
            else invalid_parameter("Missing required parameter: 'messages'")
        )
    messages = _checked(body["messages"])
    params = {k: v for k, v in body.items() if k not in ("messages", "model", "stream")}
    reply = endpoint.model.run(messages, params, optional=_OPTIONAL)
    response = _response(reply, messages)
    return EventStream(list(_chunks(response))) if body.get("stream") is True else response


def _checked(messages: Any) -> list[dict[str, Any]]:
    if not isinstance(messages, list) or not messages:
        raise invalid_parameter("'messages' must be a list of at least one message.")
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise invalid_parameter("Each of the 'messages' must be an object with a role.")
        content = message.get("content")
        if not isinstance(content, str | None):
            raise bad_request("Invalid dictionary input for a ChatAgent: 'content' must be a text.")
        if content is None and message.get("tool_calls") is None:
            raise bad_request("Either 'content' or 'tool_calls' must be provided.")
        named = message.get("name") and message.get("tool_call_id")
        if message["role"] == "tool" and not named:
            raise bad_request("Both 'name' and 'tool_call_id' must be provided for tool messages.")
    return messages


def _response(reply: Any, asked: list[dict[str, Any]]) -> dict[str, Any]:
    response: dict[str, Any] = dict(reply) if _is_whole(reply) else {"messages": reply}
    given = response["messages"]
    response["messages"] = [
        _message(one) for one in (given if isinstance(given, list) else [given])
    ]
    if "usage" not in response:
        read, written = (
            sum(count_tokens(message.get("content") or "") for message in group)
            for group in (asked, response["messages"])
        )
        response["usage"] = usage(read, written)
    return response


def _is_whole(reply: Any) -> bool:
    return isinstance(reply, dict) and "messages" in reply


def _message(reply: Any) -> dict[str, Any]:
    if isinstance(reply, str | Generation):
        reply = {"content": reply if isinstance(reply, str) else reply.text}
    if not isinstance(reply, dict):
        msg = f"A chat agent needs texts or messages, but got {type(reply)}."
        raise TypeError(msg)
    return {"role": "assistant", "id": str(uuid.uuid4()), **reply}


def _chunks(response: dict[str, Any]) -> Iterator[dict[str, Any]]:
    deltas = [delta for message in response["messages"] for delta in _deltas(message)]
    rest = {key: value for key, value in response.items() if key != "messages"}
    yield from ({"delta": delta} for delta in deltas[:-1])
    yield {"delta": deltas[-1], **rest}


def _deltas(message: dict[str, Any]) -> list[dict[str, Any]]:
    """A message of the assistant by words, any other as a whole."""
    parts = pieces(message.get("content") or "")
    if message["role"] != "assistant" or len(parts) < 2:
        return [message]
    same = {"role": message["role"], "id": message["id"]}
    return [*({**same, "content": part} for part in parts[:-1]), {**message, "content": parts[-1]}]
