"""What a model or an agent puts out in the Responses API, as LangChain's standard blocks.

Protocols: OpenAI's "Responses" API, output items; MLflow 3.17's `mlflow.types.responses_helpers`.

A function call whose result stands in the same output was carried out by the agent itself, so it
is a ``server_tool_call`` with its ``server_tool_result``: in `tool_calls` it would be carried out
once more by whoever runs the tools here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from langchain_core.messages import InvalidToolCall, ToolCall
from langchain_core.messages.tool import invalid_tool_call, tool_call

from langchain_dbx_eval.wire.validate import expect_dict, expect_list, expect_text, wrong_shape

__all__ = ["Item", "call_id_of", "parse_call", "read_item", "refusal_in", "tool_calls_in"]

Item = dict[str, Any]


def read_item(item: Item, *, answered: bool = False) -> list[dict[str, Any]]:
    """Read one output item.

    Args:
        item: The item.
        answered: Whether the result of the call that it is stands in the same output.

    Returns:
        Its blocks: ``text``, ``reasoning`` (one for each summary, all with the item's id),
        ``tool_call``, ``invalid_tool_call``, ``server_tool_call``, ``server_tool_result``, and
        ``non_standard`` for whatever has no block of its own. A refusal has none: see
        `refusal_in`.

    Raises:
        InvalidResponseError: It is not of the shape that its type has.
    """
    kind = expect_text(item, "type")
    if kind == "message":
        return _read_message(item)
    if kind == "reasoning":
        return _read_reasoning(item)
    if kind == "function_call":
        return [_read_call(item, answered=answered)]
    if kind == "function_call_output":
        return [
            {
                "type": "server_tool_result",
                "tool_call_id": call_id_of(item),
                "status": "success",
                "output": item.get("output"),
                "extras": {"item_type": kind},
            }
        ]
    return [{"type": "non_standard", "value": item}]


def refusal_in(item: Item) -> str:
    """The refusal that a message holds, or an empty text."""
    if item.get("type") != "message":
        return ""
    parts = [part for part in _parts(item) if part.get("type") == "refusal"]
    return "".join(expect_text(part, "refusal") for part in parts)


def call_id_of(item: Item) -> str:
    """The id by which a function call and its result know each other.

    Raises:
        InvalidResponseError: There is none.
    """
    call_id = item.get("call_id") or item.get("id")
    if isinstance(call_id, str) and call_id:
        return call_id
    raise wrong_shape("a 'call_id' in its function calls and their outputs", item)


def parse_call(name: str, arguments: Any, call_id: str | None) -> ToolCall | InvalidToolCall:
    """Read the arguments of a call.

    Args:
        name: The function's name.
        arguments: JSON as text, or an object already.
        call_id: The call's id.

    Returns:
        The call; an invalid one, which says why, where the arguments are not a JSON object.
    """
    error = "The arguments are not a JSON object."
    parsed = arguments or {}
    if isinstance(parsed, str):
        try:
            # Not strict: models write line breaks into their strings.
            parsed = json.loads(parsed, strict=False)
        except (ValueError, RecursionError) as reason:
            error = f"The arguments are not JSON: {reason}"
    if isinstance(parsed, dict):
        return tool_call(name=name, args=parsed, id=call_id)
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return invalid_tool_call(name=name, args=text, id=call_id, error=error)


def tool_calls_in(
    blocks: Iterable[Mapping[str, Any]],
) -> tuple[list[ToolCall], list[InvalidToolCall]]:
    """The calls among some blocks that are still to be carried out, and those that cannot be."""
    calls, invalid = [], []
    for block in blocks:
        if block["type"] == "tool_call":
            calls.append(tool_call(name=block["name"], args=block["args"], id=block["id"]))
        elif block["type"] == "invalid_tool_call":
            told = {key: block[key] for key in ("name", "args", "id", "error")}
            invalid.append(invalid_tool_call(**told))
    return calls, invalid


def _parts(item: Item) -> list[dict[str, Any]]:
    content = item.get("content")
    if isinstance(content, str):
        return [{"type": "output_text", "text": content}]
    return [expect_dict(part, "objects in 'content'") for part in expect_list(item, "content")]


def _read_message(item: Item) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    for part in _parts(item):
        if part.get("type") in ("output_text", "text"):
            block = {"type": "text", "text": expect_text(part, "text"), **_id(item)}
            notes = part.get("annotations")
            if isinstance(notes, list) and notes:
                block["annotations"] = [annotation(note) for note in notes]
            blocks.append(block)
        elif part.get("type") != "refusal":
            blocks.append({"type": "non_standard", "value": part})
    return blocks


def annotation(raw: Any) -> dict[str, Any]:
    """One note of a text as a standard annotation: a citation, or whatever it is."""
    note = expect_dict(raw, "objects in 'annotations'")
    kind = note.get("type")
    if kind not in ("url_citation", "file_citation"):
        return {"type": "non_standard_annotation", "value": note}
    known = {"url": "url", "title": "title", "filename": "title"}
    known |= {"start_index": "start_index", "end_index": "end_index"}
    citation = {known[key]: value for key, value in note.items() if key in known}
    extras = {key: value for key, value in note.items() if key not in (*known, "type")}
    return {"type": "citation", **citation, **({"extras": extras} if extras else {})}


def _read_reasoning(item: Item) -> list[dict[str, Any]]:
    texts: list[tuple[str, dict[str, Any]]] = []
    for key in ("summary", "content"):
        for raw in expect_list(item, key) if item.get(key) is not None else ():
            part = expect_dict(raw, f"objects in the {key!r} of its reasoning")
            extras = {"signature": part["signature"]} if part.get("signature") else {}
            extras |= {"part": "reasoning_text"} if key == "content" else {}
            texts.append((expect_text(part, "text"), extras))
    texts = texts or [("", {})]
    if item.get("encrypted_content"):
        texts[0][1]["encrypted_content"] = item["encrypted_content"]
    return [
        {
            "type": "reasoning",
            "reasoning": text,
            **_id(item),
            **({"extras": extras} if extras else {}),
        }
        for text, extras in texts
    ]


def _read_call(item: Item, *, answered: bool) -> dict[str, Any]:
    call_id, arguments = call_id_of(item), item.get("arguments")
    call: dict[str, Any] = {**parse_call(expect_text(item, "name"), arguments, call_id)}
    extras = {"item_id": item["id"]} if item.get("id") else {}
    if answered:
        valid = call["type"] == "tool_call"
        extras |= {"item_type": "function_call", **({} if valid else {"arguments": arguments})}
        call = {"name": call["name"], "args": call["args"] if valid else {}, "id": call_id}
        call["type"] = "server_tool_call"
    return {**call, **({"extras": extras} if extras else {})}


def _id(item: Item) -> dict[str, Any]:
    return {"id": item["id"]} if isinstance(item.get("id"), str) and item["id"] else {}
