"""`decode`: the JSON of a Responses answer as a message, its output items as standard blocks.

Protocols: OpenAI's "Responses" API, output items; MLflow 3.17's `mlflow.types.responses_helpers`.

A function call whose result is in the same output was run by the agent, so it becomes a
``server_tool_call`` with its ``server_tool_result``: in `tool_calls` the caller would run it again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from langchain_dbx_eval.errors import (
    DatabricksError,
    InvalidRequestError,
    RateLimitError,
    ServerError,
)
from langchain_dbx_eval.wire.content.blocks import with_extras
from langchain_dbx_eval.wire.metadata import (
    AGENT_FIELDS,
    decode_usage,
    llm_output,
    response_metadata,
)
from langchain_dbx_eval.wire.tool_calls import decode_call, split_calls
from langchain_dbx_eval.wire.validate import (
    error_text,
    expect_dict,
    expect_list,
    expect_text,
    wrong_shape,
)

__all__ = [
    "METADATA",
    "Item",
    "call_id_of",
    "decode",
    "decode_annotation",
    "decode_item",
    "finish_reason",
    "split_refusal",
]

Item = dict[str, Any]

METADATA = (*AGENT_FIELDS, "status", "created_at", "service_tier", "incomplete_details", "metadata")
"""The fields of a response that become `response_metadata`."""

# Prefixes of OpenAI's codes for errors in the request (`openai.types.responses.ResponseError`).
_REQUEST_ERRORS = ("invalid_", "image_", "empty_image", "unsupported_image", "failed_to_download")


def decode(payload: Any) -> ChatResult:
    """Decode the response to a Responses request.

    Args:
        payload: The decoded JSON.

    Returns:
        One generation. If the answer is ``incomplete``, it contains what was generated, and its
        ``finish_reason`` is ``length`` if the tokens ran out, else the reason in the response
        (such as ``content_filter``).

    Raises:
        RateLimitError: The response reports too many requests.
        InvalidRequestError: It reports an error in the request.
        ServerError: It reports another error, or was canceled.
        InvalidResponseError: The payload is not a response of this API.
    """
    response = expect_dict(payload)
    failed = response.get("error") or "error_code" in response
    if failed or response.get("status") in ("failed", "cancelled"):
        raise _error(response)
    items = [expect_dict(item, "objects in 'output'") for item in expect_list(response, "output")]
    if not items and response.get("status") != "incomplete" and not response.get("custom_outputs"):
        raise wrong_shape("at least one item under 'output'", payload)
    results = {call_id_of(item) for item in items if item.get("type") == "function_call_output"}
    decoded = [block for item in items for block in decode_item(item, results)]
    blocks, refusal = split_refusal(decoded)
    calls, invalid = split_calls(blocks)
    metadata = response_metadata(response, METADATA)
    reason = finish_reason(response, has_calls=bool(calls or invalid))
    message = AIMessage(
        content=blocks,
        tool_calls=calls,
        invalid_tool_calls=invalid,
        additional_kwargs={"refusal": refusal} if refusal else {},
        usage_metadata=decode_usage(response.get("usage")),
        response_metadata={**metadata, "finish_reason": reason},
        id=metadata.get("id"),
    )
    return ChatResult(
        generations=[ChatGeneration(message=message, generation_info={"finish_reason": reason})],
        llm_output=llm_output(metadata, response),
    )


def finish_reason(response: Mapping[str, Any], *, has_calls: bool) -> str:
    """Return the finish reason in the terms of Chat Completions.

    Args:
        response: The response, with ``status`` and ``incomplete_details``.
        has_calls: Whether it calls tools that the caller must run.
    """
    if response.get("status") == "incomplete":
        details = response.get("incomplete_details")
        reason = details.get("reason") if isinstance(details, Mapping) else None
        return "length" if reason == "max_output_tokens" else str(reason or "incomplete")
    return "tool_calls" if has_calls else "stop"


def decode_item(item: Item, results: Collection[str] = ()) -> list[Item]:
    """Decode one output item.

    Args:
        item: The item.
        results: The ids of the calls whose results are in the same output.

    Returns:
        Its blocks: ``text``, ``reasoning`` (one per summary, all with the item's id),
        ``tool_call``, ``invalid_tool_call``, ``server_tool_call``, ``server_tool_result``, and
        ``non_standard`` for everything else; also ``refusal``, which is no block of LangChain's:
        see `split_refusal`.

    Raises:
        InvalidResponseError: The item does not have the shape of its type.
    """
    kind = expect_text(item, "type")
    if kind == "message":
        return _decode_message(item)
    if kind == "reasoning":
        return _decode_reasoning(item)
    if kind == "function_call":
        return [_decode_call(item, results)]
    if kind == "function_call_output":
        result: Item = {"type": "server_tool_result", "tool_call_id": call_id_of(item)}
        result |= {"status": "success", "output": item.get("output")}
        return [{**result, "extras": {"item_type": kind}}]
    return [{"type": "non_standard", "value": item}]


def split_refusal(blocks: Sequence[Item]) -> tuple[list[Any], str]:
    """Return the blocks that are LangChain's, and the text of the others, a refusal."""
    refusal = "".join(block["refusal"] for block in blocks if block["type"] == "refusal")
    return [block for block in blocks if block["type"] != "refusal"], refusal


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
    return with_extras({"type": "citation", **citation}, extras)


def _decode_message(item: Item) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    content = item.get("content")
    if isinstance(content, str):
        content = [{"type": "output_text", "text": content}]
    for raw in expect_list({"content": content}, "content"):
        part = expect_dict(raw, "objects in 'content'")
        if part.get("type") in ("output_text", "text"):
            block = {"type": "text", "text": expect_text(part, "text"), **_id(item)}
            notes = part.get("annotations")
            if isinstance(notes, list) and notes:
                block["annotations"] = [decode_annotation(note) for note in notes]
            blocks.append(block)
        elif part.get("type") == "refusal":
            blocks.append({"type": "refusal", "refusal": expect_text(part, "refusal")})
        else:
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
        with_extras({"type": "reasoning", "reasoning": text, **_id(item)}, extras)
        for text, extras in texts
    ]


def _decode_call(item: Item, results: Collection[str]) -> dict[str, Any]:
    expect_text(item, "name")
    call_id = call_id_of(item)
    call: dict[str, Any] = {**decode_call(item, call_id)}
    extras = {"item_id": item["id"]} if item.get("id") else {}
    if call_id in results:
        extras["item_type"] = "function_call"
        if call["type"] == "invalid_tool_call":
            extras["arguments"], call["args"] = item.get("arguments"), {}
        fields = {key: call[key] for key in ("name", "args", "id")}
        call = {"type": "server_tool_call", **fields}
    return with_extras(call, extras)


def _id(item: Item) -> dict[str, Any]:
    return {"id": item["id"]} if isinstance(item.get("id"), str) and item["id"] else {}


def _error(response: dict[str, Any]) -> DatabricksError:
    error = response.get("error") or response
    code = (error.get("code") or error.get("error_code")) if isinstance(error, dict) else None
    code = code if isinstance(code, str) else None
    if response.get("status") == "cancelled":
        return ServerError("The answer was canceled before it was complete.", retryable=False)
    message = f"The model failed to answer: {error_text(error)}"
    if code in ("rate_limit_exceeded", "REQUEST_LIMIT_EXCEEDED"):
        return RateLimitError(message, error_code=code)
    if code and code.startswith(_REQUEST_ERRORS):
        return InvalidRequestError(message, error_code=code)
    return ServerError(message, error_code=code)
