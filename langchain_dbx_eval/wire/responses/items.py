"""Output items of the Responses API as LangChain's standard content blocks.

Protocols: OpenAI's "Responses" API, output items; MLflow 3.17's `mlflow.types.responses_helpers`.

A function call whose result is in the same output was run by the agent, so it becomes a
``server_tool_call`` with its ``server_tool_result``: in `tool_calls` the caller would run it again.
"""

from __future__ import annotations

from typing import Any

from langchain_dbx_eval.wire.tool_calls import decode_call
from langchain_dbx_eval.wire.validate import expect_dict, expect_list, expect_text, wrong_shape

__all__ = [
    "Item",
    "call_id_of",
    "decode_annotation",
    "decode_item",
    "refusal_in",
]

Item = dict[str, Any]


def decode_item(item: Item, *, has_result: bool = False) -> list[dict[str, Any]]:
    """Decode one output item.

    Args:
        item: The item.
        has_result: Whether the item is a function call whose result is in the same output.

    Returns:
        Its blocks: ``text``, ``reasoning`` (one per summary, all with the item's id),
        ``tool_call``, ``invalid_tool_call``, ``server_tool_call``, ``server_tool_result``, and
        ``non_standard`` for everything else. A refusal has no block: see `refusal_in`.

    Raises:
        InvalidResponseError: The item does not have the shape of its type.
    """
    kind = expect_text(item, "type")
    if kind == "message":
        return _decode_message(item)
    if kind == "reasoning":
        return _decode_reasoning(item)
    if kind == "function_call":
        return [_decode_call(item, has_result=has_result)]
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
    """Return the refusal in a message item; an empty string if there is none."""
    if item.get("type") != "message":
        return ""
    parts = [part for part in _parts(item) if part.get("type") == "refusal"]
    return "".join(expect_text(part, "refusal") for part in parts)


def call_id_of(item: Item) -> str:
    """Return the id that links a function call and its result.

    Raises:
        InvalidResponseError: The item has no such id.
    """
    call_id = item.get("call_id") or item.get("id")
    if isinstance(call_id, str) and call_id:
        return call_id
    raise wrong_shape("a 'call_id' in its function calls and their outputs", item)


def decode_annotation(raw: Any) -> dict[str, Any]:
    """Decode an annotation of a text as a standard citation or non-standard annotation."""
    note = expect_dict(raw, "objects in 'annotations'")
    kind = note.get("type")
    if kind not in ("url_citation", "file_citation"):
        return {"type": "non_standard_annotation", "value": note}
    known = {"url": "url", "title": "title", "filename": "title"}
    known |= {"start_index": "start_index", "end_index": "end_index"}
    citation = {known[key]: value for key, value in note.items() if key in known}
    extras = {key: value for key, value in note.items() if key not in (*known, "type")}
    return {"type": "citation", **citation, **({"extras": extras} if extras else {})}


def _parts(item: Item) -> list[dict[str, Any]]:
    content = item.get("content")
    if isinstance(content, str):
        return [{"type": "output_text", "text": content}]
    return [expect_dict(part, "objects in 'content'") for part in expect_list(item, "content")]


def _decode_message(item: Item) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    for part in _parts(item):
        if part.get("type") in ("output_text", "text"):
            block = {"type": "text", "text": expect_text(part, "text"), **_id(item)}
            notes = part.get("annotations")
            if isinstance(notes, list) and notes:
                block["annotations"] = [decode_annotation(note) for note in notes]
            blocks.append(block)
        elif part.get("type") != "refusal":
            blocks.append({"type": "non_standard", "value": part})
    return blocks


def _decode_reasoning(item: Item) -> list[dict[str, Any]]:
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


def _decode_call(item: Item, *, has_result: bool) -> dict[str, Any]:
    call_id, arguments = call_id_of(item), item.get("arguments")
    call: dict[str, Any] = {**decode_call(expect_text(item, "name"), arguments, call_id)}
    extras = {"item_id": item["id"]} if item.get("id") else {}
    if has_result:
        valid = call["type"] == "tool_call"
        extras |= {"item_type": "function_call", **({} if valid else {"arguments": arguments})}
        call = {"name": call["name"], "args": call["args"] if valid else {}, "id": call_id}
        call["type"] = "server_tool_call"
    return {**call, **({"extras": extras} if extras else {})}


def _id(item: Item) -> dict[str, Any]:
    return {"id": item["id"]} if isinstance(item.get("id"), str) and item["id"] else {}
