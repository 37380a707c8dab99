"""What an endpoint with a ResponsesAgent answers, and OpenAI's Responses API.

The protocol is MLflow's (`mlflow.types.responses`, read in 3.17), which is OpenAI's with
``custom_inputs``, ``context`` and ``custom_outputs``; so are the checks of the request.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

from langchain_dbx_eval.driver.engines.base import Generation
from langchain_dbx_eval.testing.errors import bad_request, invalid_parameter, unknown_field
from langchain_dbx_eval.testing.serving.endpoints import Endpoint
from langchain_dbx_eval.testing.serving.llm import EventStream, count_tokens, pieces
from langchain_dbx_eval.testing.serving.models import message_text

__all__ = ["answer"]

_OPTIONAL = frozenset(
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
# What an item of each type cannot do without.
_NEEDED = {
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
    """The response to a request, or its events.

    Raises:
        Refusal: `input` is missing or is no conversation, or a field is unknown.
        TypeError: The function returned nothing that an answer can be made of.
    """
    if "input" not in body:
        raise (
            unknown_field("messages")
            if "messages" in body
            else invalid_parameter("Missing required parameter: 'input'")
        )
    items = _checked(body["input"])
    params = {k: v for k, v in body.items() if k not in ("input", "model", "stream")}
    reply = endpoint.model.run(items, params, optional=_OPTIONAL)
    response = _response(endpoint, reply, items)
    return EventStream(list(_events(response))) if body.get("stream") is True else response


def _checked(given: Any) -> list[dict[str, Any]]:
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    if not isinstance(given, list) or not given:
        raise invalid_parameter("'input' must be a text or a list of at least one item.")
    called = set()
    for item in given:
        if not isinstance(item, dict):
            raise invalid_parameter("Each item of 'input' must be an object.")
        kind = item.get("type", "message")
        if kind == "message":
            _check_message(item)
        elif kind not in _NEEDED:
            raise invalid_parameter(f"Invalid type: {kind} for an item of 'input'.")
        elif missing := [name for name in _NEEDED[kind] if item.get(name) is None]:
            raise invalid_parameter(f"An item of type '{kind}' needs {', '.join(missing)}.")
        elif kind == "function_call":
            called.add(item["call_id"])
        elif kind == "function_call_output" and item["call_id"] not in called:
            call_id = item["call_id"]
            raise bad_request(
                f"No tool call found for function call output with call_id {call_id}."
            )
    return given


def _check_message(item: dict[str, Any]) -> None:
    if item.get("role") not in _ROLES:
        raise invalid_parameter(f"Invalid role: {item.get('role')}. Must be one of {_ROLES}.")
    content = item.get("content")
    if isinstance(content, str):
        return
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise invalid_parameter("A message's 'content' must be a text or a list of objects.")
    # A message of the assistant is text, or an output item, which has an id.
    own = item["role"] == "assistant"
    allowed = _OUTPUT_PARTS if own and item.get("id") else () if own else _INPUT_PARTS
    for part in content:
        if part.get("type") not in allowed:
            raise invalid_parameter(f"Invalid type: {part.get('type')} in a message's 'content'.")


def _response(endpoint: Endpoint, reply: Any, asked: list[dict[str, Any]]) -> dict[str, Any]:
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
        msg = f"A responses endpoint needs a text, items or a dictionary, but got {type(reply)}."
        raise TypeError(msg)
    if any(
        isinstance(one, Generation) and one.finish_reason == "length" for one in response["output"]
    ):
        cut = {"reason": "max_output_tokens"}
        response |= {"status": "incomplete", "incomplete_details": cut}
    response["output"] = [_item(one) for one in response["output"]]
    read = sum(count_tokens(message_text(item)) for item in asked if "role" in item)
    response["usage"] = response["usage"] or _usage(read, response["output"])
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
        msg = f"An output item is a text or a dictionary with a 'type', not {reply!r}."
        raise TypeError(msg)
    # Results of functions have no id of their own.
    own_id = {} if reply["type"] == "function_call_output" else {"id": f"item_{uuid.uuid4().hex}"}
    return {**own_id, **reply}


def _usage(read: int, output: list[dict[str, Any]]) -> dict[str, Any]:
    written = sum(count_tokens(message_text(i)) for i in output if i["type"] == "message")
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": read + written,
    }


def _events(response: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The events of a response, numbered, as OpenAI sends them and its client wants them."""
    opening = {**response, "status": "in_progress", "output": [], "usage": None}
    events = [{"type": "response.created", "response": opening}]
    for index, item in enumerate(response["output"]):
        events += _item_events(index, item)
    events.append({"type": f"response.{response['status']}", "response": response})
    yield from ({**event, "sequence_number": number} for number, event in enumerate(events))


def _item_events(index: int, item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    begun = {key: _BEGUN.get(key, value) for key, value in item.items()}
    yield {"type": "response.output_item.added", "output_index": index, "item": begun}
    place = {"item_id": item.get("id"), "output_index": index}
    for number, part in enumerate(item.get("content") or ()):
        yield from _part_events({**place, "content_index": number}, part)
    for number, part in enumerate(item.get("summary") or ()):
        kind, where = "response.reasoning_summary_text.delta", {**place, "summary_index": number}
        yield from ({"type": kind, **where, "delta": piece} for piece in pieces(part["text"]))
    if item["type"] == "function_call":
        kind = "response.function_call_arguments.delta"
        yield from ({"type": kind, **place, "delta": piece} for piece in pieces(item["arguments"]))
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


# How an item begins whose pieces follow.
_BEGUN: dict[str, Any] = {"content": [], "summary": [], "arguments": ""}


def _part_events(place: dict[str, Any], part: dict[str, Any]) -> Iterator[dict[str, Any]]:
    name = "refusal" if part["type"] == "refusal" else "text"
    kind = "response.refusal" if name == "refusal" else "response.output_text"
    yield {"type": "response.content_part.added", **place, "part": {**part, name: ""}}
    for piece in pieces(part[name]):
        yield {"type": f"{kind}.delta", **place, "delta": piece}
    yield {"type": f"{kind}.done", **place, name: part[name]}
    yield {"type": "response.content_part.done", **place, "part": part}
