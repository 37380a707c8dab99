"""Endpoints with an MLflow ResponsesAgent, and OpenAI's Responses API.

The protocol and the validation of requests follow `mlflow.types.responses`, read in MLflow 3.17:
OpenAI's Responses API with the additional fields ``custom_inputs``, ``context`` and
``custom_outputs``.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

from langchain_dbx_eval.driver.engines.base import Generation
from langchain_dbx_eval.testing.errors import bad_request, invalid_parameter
from langchain_dbx_eval.testing.serving.endpoints import Endpoint, EventStream
from langchain_dbx_eval.testing.serving.openai import require_input
from langchain_dbx_eval.testing.serving.text import count_tokens, message_text, split_words

__all__ = ["answer"]

_IGNORABLE = frozenset(
    {
        "background",
        "context",
        "custom_inputs",
        "databricks_options",
        "include",
        "instructions",
        "max_output_tokens",
        "metadata",
        "parallel_tool_calls",
        "previous_response_id",
        "reasoning",
        "service_tier",
        "store",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "truncation",
        "user",
    }
)
_ROLES = ("user", "assistant", "system", "developer")
_INPUT_PARTS = ("input_text", "input_image", "input_file")
_OUTPUT_PARTS = ("output_text", "refusal")
_REQUIRED_FIELDS = {
    "function_call": ("call_id", "name", "arguments"),
    "function_call_output": ("call_id", "output"),
    "reasoning": ("id", "summary"),
    "mcp_approval_request": ("id", "arguments", "name", "server_label"),
    "mcp_approval_response": ("approval_request_id", "approve"),
    "file_search_call": (),
    "computer_call": (),
    "web_search_call": (),
}


def answer(endpoint: Endpoint, body: dict[str, Any]) -> dict[str, Any] | EventStream:
    """Return the response to a request, or its events.

    Raises:
        ApiError: The request is invalid.
        TypeError: The backend returned something other than texts, items or a response.
    """
    require_input(body, "input")
    items = _parse_items(body["input"])
    params = {k: v for k, v in body.items() if k not in ("input", "model", "stream")}
    reply = endpoint.backend.invoke(items, params, ignorable=_IGNORABLE)
    response = _response(endpoint, reply, items)
    return EventStream(list(_events(response))) if body.get("stream") is True else response


def _parse_items(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    if not isinstance(value, list) or not value:
        raise invalid_parameter("'input' must be a string or a list with at least one item.")
    call_ids = set()
    for item in value:
        if not isinstance(item, dict):
            raise invalid_parameter("Each item of 'input' must be an object.")
        item_type = item.get("type", "message")
        if item_type == "message":
            _validate_message(item)
        elif item_type not in _REQUIRED_FIELDS:
            raise invalid_parameter(f"Invalid type: {item_type} for an item of 'input'.")
        elif missing := [name for name in _REQUIRED_FIELDS[item_type] if item.get(name) is None]:
            raise invalid_parameter(f"An item of type '{item_type}' requires {', '.join(missing)}.")
        elif item_type == "function_call":
            call_ids.add(item["call_id"])
        elif item_type == "function_call_output" and item["call_id"] not in call_ids:
            call_id = item["call_id"]
            raise bad_request(
                f"No tool call found for function call output with call_id {call_id}."
            )
    return value


def _validate_message(item: dict[str, Any]) -> None:
    if item.get("role") not in _ROLES:
        raise invalid_parameter(f"Invalid role: {item.get('role')}. Must be one of {_ROLES}.")
    content = item.get("content")
    if isinstance(content, str):
        return
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise invalid_parameter("A message's 'content' must be a string or a list of objects.")
    # The content of an assistant message is a string, or parts if it is an output item with an id.
    allowed: tuple[str, ...] = _INPUT_PARTS
    if item["role"] == "assistant":
        allowed = _OUTPUT_PARTS if item.get("id") else ()
    for part in content:
        if part.get("type") not in allowed:
            raise invalid_parameter(f"Invalid type: {part.get('type')} in a message's 'content'.")


def _response(endpoint: Endpoint, reply: Any, items: list[dict[str, Any]]) -> dict[str, Any]:
    response: dict[str, Any] = {
        "id": f"resp_{uuid.uuid4().hex}",
        "object": "response",
        "created_at": int(time.time()),
        "model": endpoint.name,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "usage": None,
    }
    if isinstance(reply, dict) and "output" in reply:
        response |= reply
    elif isinstance(reply, str | Generation | dict):
        response["output"] = [reply]
    elif isinstance(reply, list):
        response["output"] = reply
    else:
        msg = (
            f"A responses endpoint requires a string, items or a dictionary, but got {type(reply)}."
        )
        raise TypeError(msg)
    if any(
        isinstance(one, Generation) and one.finish_reason == "length" for one in response["output"]
    ):
        details = {"reason": "max_output_tokens"}
        response |= {"status": "incomplete", "incomplete_details": details}
    response["output"] = [_item(one) for one in response["output"]]
    input_tokens = sum(count_tokens(message_text(item)) for item in items if "role" in item)
    response["usage"] = response["usage"] or _usage(input_tokens, response["output"])
    return response


def _item(reply: Any) -> dict[str, Any]:
    if isinstance(reply, Generation):
        reply = reply.text
    if isinstance(reply, str):
        reply = {"type": "message", "role": "assistant", "content": reply}
    if isinstance(reply, dict) and isinstance(reply.get("content"), str):
        part = {"type": "output_text", "text": reply["content"], "annotations": []}
        reply = {**reply, "content": [part]}
    if not isinstance(reply, dict) or "type" not in reply:
        msg = f"An output item must be a string or a dictionary with a 'type', not {reply!r}."
        raise TypeError(msg)
    # Function results have no id.
    new_id = {} if reply["type"] == "function_call_output" else {"id": f"item_{uuid.uuid4().hex}"}
    return {**new_id, **reply}


def _usage(input_tokens: int, output: list[dict[str, Any]]) -> dict[str, Any]:
    output_tokens = sum(count_tokens(message_text(i)) for i in output if i["type"] == "message")
    return {
        "input_tokens": input_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": input_tokens + output_tokens,
    }


def _events(response: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the numbered events of a response, as OpenAI sends them and its client requires."""
    created = {**response, "status": "in_progress", "output": [], "usage": None}
    events = [{"type": "response.created", "response": created}]
    for index, item in enumerate(response["output"]):
        events += _item_events(index, item)
    events.append({"type": f"response.{response['status']}", "response": response})
    yield from ({**event, "sequence_number": number} for number, event in enumerate(events))


# The fields of an item that are empty in its first event.
_EMPTY_FIELDS: dict[str, Any] = {"content": [], "summary": [], "arguments": ""}


def _item_events(index: int, item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    added = {key: _EMPTY_FIELDS.get(key, value) for key, value in item.items()}
    yield {"type": "response.output_item.added", "output_index": index, "item": added}
    ids = {"item_id": item.get("id"), "output_index": index}
    for number, part in enumerate(item.get("content") or ()):
        yield from _part_events({**ids, "content_index": number}, part)
    for number, part in enumerate(item.get("summary") or ()):
        event_type = "response.reasoning_summary_text.delta"
        summary_ids = {**ids, "summary_index": number}
        for word in split_words(part["text"]):
            yield {"type": event_type, **summary_ids, "delta": word}
    if item["type"] == "function_call":
        for word in split_words(item["arguments"]):
            yield {"type": "response.function_call_arguments.delta", **ids, "delta": word}
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _part_events(ids: dict[str, Any], part: dict[str, Any]) -> Iterator[dict[str, Any]]:
    field = "refusal" if part["type"] == "refusal" else "text"
    event_type = "response.refusal" if field == "refusal" else "response.output_text"
    yield {"type": "response.content_part.added", **ids, "part": {**part, field: ""}}
    for word in split_words(part[field]):
        yield {"type": f"{event_type}.delta", **ids, "delta": word}
    yield {"type": f"{event_type}.done", **ids, field: part[field]}
    yield {"type": "response.content_part.done", **ids, "part": part}
