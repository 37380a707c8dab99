"""Tool calls: LangChain's to the JSON of Chat Completions, which ChatAgent shares, and back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from langchain_core.messages import AIMessage, InvalidToolCall, ToolCall, ToolCallChunk
from langchain_core.messages.tool import invalid_tool_call, tool_call, tool_call_chunk

from langchain_dbx_eval.wire.validate import expect_dict, expect_list

__all__ = [
    "arguments_text",
    "call_chunk",
    "decode_call",
    "decode_calls",
    "encode_calls",
    "encoded_calls",
    "split_calls",
]


def encode_calls(message: AIMessage) -> list[dict[str, Any]]:
    """Return the ``tool_calls`` of a message, the invalid ones included."""
    return [
        {
            "type": "function",
            "id": call["id"],
            "function": {"name": call["name"], "arguments": arguments_text(call["args"])},
        }
        for call in (*message.tool_calls, *message.invalid_tool_calls)
    ]


def arguments_text(arguments: Any) -> str:
    """Return the arguments of a call as JSON; a string is JSON already."""
    if isinstance(arguments, str):
        return arguments
    return json.dumps(arguments or {}, ensure_ascii=False)


def encoded_calls(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the ``tool_calls`` of an encoded message, each with an object under ``function``.

    Raises:
        InvalidResponseError: They are of another shape.
    """
    if not message.get("tool_calls"):
        return []
    calls = expect_list(message, "tool_calls")
    for call in calls:
        function = expect_dict(call, "objects in 'tool_calls'").get("function")
        expect_dict(function, "a 'function' to call")
    return calls


def decode_call(function: Mapping[str, Any], call_id: Any) -> ToolCall | InvalidToolCall:
    """Decode a call.

    Args:
        function: Its ``name``, and its ``arguments``: JSON as text, or an object.
        call_id: The id of the call, or None.

    Returns:
        The call; an invalid one with the reason if the arguments are not a JSON object.
    """
    name, arguments = function.get("name") or "", function.get("arguments")
    error = "The arguments are not a JSON object."
    parsed = arguments or {}
    if isinstance(parsed, str):
        try:
            # Not strict: models write line breaks into strings.
            parsed = json.loads(parsed, strict=False)
        except (ValueError, RecursionError) as reason:
            error = f"The arguments are not JSON: {reason}"
    if isinstance(parsed, dict):
        return tool_call(name=name, args=parsed, id=call_id)
    return invalid_tool_call(name=name, args=arguments_text(arguments), id=call_id, error=error)


def decode_calls(message: Mapping[str, Any]) -> tuple[list[ToolCall], list[InvalidToolCall]]:
    """Return the valid and the invalid ``tool_calls`` of an encoded message.

    Raises:
        InvalidResponseError: They are of another shape.
    """
    calls = encoded_calls(message)
    return split_calls(decode_call(call["function"], call.get("id")) for call in calls)


def call_chunk(call: Mapping[str, Any], index: int) -> ToolCallChunk:
    """Return a decoded call as the chunk of a stream."""
    arguments = arguments_text(call["args"])
    return tool_call_chunk(name=call["name"], args=arguments, id=call["id"], index=index)


def split_calls(calls: Iterable[Mapping[str, Any]]) -> tuple[list[ToolCall], list[InvalidToolCall]]:
    """Separate valid from invalid calls; anything else, such as a content block, is dropped."""
    valid, invalid = [], []
    for call in calls:
        if call["type"] == "tool_call":
            valid.append(tool_call(name=call["name"], args=call["args"], id=call["id"]))
        elif call["type"] == "invalid_tool_call":
            fields = {key: call[key] for key in ("name", "args", "id", "error")}
            invalid.append(invalid_tool_call(**fields))
    return valid, invalid
