"""The messages and tool calls of requests and responses of any documented form."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from langchain_dbx_eval.datasets.record import parse_json
from langchain_dbx_eval.scoring.answer_text import answer_text, request_text, to_plain_json

__all__ = ["Conversation", "conversation_messages", "conversation_text", "recorded_tool_calls"]


class Conversation(str):
    """The text of a request with earlier turns: its messages as JSON."""

    __slots__ = ()


def conversation_text(request: Any) -> str:
    """Return the text of a request for judges.

    Returns:
        Of a conversation with several messages, all messages as JSON (as in databricks-agents'
        ``request_to_string``), as a `Conversation`; else `request_text`.
    """
    messages = _request_messages(request)
    if len(messages) < 2:
        return request_text(request)
    # The text of a multimodal message: the content blocks of an image are no use to a judge.
    texts = [{**m, "content": m["content"] and answer_text(m)} for m in messages]
    return Conversation(json.dumps(texts, ensure_ascii=False))


def conversation_messages(request: Any, response: Any) -> list[dict[str, Any]]:
    """Return the messages of a request, followed by those of its response.

    Returns:
        Messages in OpenAI's form. A response that repeats the messages of the request, such as the
        state of a LangGraph graph, adds only the new ones.
    """
    first = _request_messages(request) or [{"role": "user", "content": request_text(request)}]
    further = _response_messages(response)
    is_repeated = list(map(_turn, further[: len(first)])) == list(map(_turn, first))
    return [*first, *(further[len(first) :] if is_repeated else further)]


def recorded_tool_calls(column: Any, response: Any) -> list[dict[str, Any]]:
    """Return the tool calls of a row without a captured call.

    Args:
        column: The record's ``tool_calls``: in the form of databricks-agents (``tool_name``,
            ``tool_call_args``, ``tool_call_result``), of LangChain (``name``, ``args``), of OpenAI
            (``function``), or as ``name`` and ``arguments``. None: those of `response`.
        response: The response; its messages may contain tool calls and their results.

    Returns:
        ``{"name", "arguments", "result"}`` of each call.
    """
    messages = _response_messages(response)
    results = {m.get("tool_call_id"): m.get("content") for m in messages if m.get("tool_call_id")}
    calls = parse_json(column)
    if not isinstance(calls, list):
        calls = [call for message in messages for call in message.get("tool_calls") or ()]
    return [_tool_call(call, results) for call in calls if isinstance(call, Mapping)]


def _tool_call(call: Mapping[str, Any], results: Mapping[Any, Any]) -> dict[str, Any]:
    call = {**call, **(call.get("function") or {})}
    names = {
        "name": ("name", "tool_name"),
        "arguments": ("arguments", "args", "tool_call_args"),
        "result": ("result", "tool_call_result"),
        "id": ("id", "tool_call_id"),
    }
    found = {
        name: next((call[key] for key in keys if call.get(key) is not None), None)
        for name, keys in names.items()
    }
    result = found["result"] if found["result"] is not None else results.get(found["id"])
    arguments = parse_json(found["arguments"])
    return {"name": str(found["name"]), "arguments": arguments, "result": result}


def _request_messages(request: Any) -> list[dict[str, Any]]:
    if isinstance(request, Mapping) and isinstance(request.get("history"), list):
        last = {"role": "user", "content": request_text(request)}
        return [*_messages(request["history"]), last]
    if isinstance(request, Mapping):
        request = request.get("messages") or request.get("input")
    return list(_messages(request))


def _response_messages(response: Any) -> list[dict[str, Any]]:
    plain = to_plain_json(response)
    if isinstance(plain, Mapping) and isinstance(choices := plain.get("choices"), list):
        plain = [choice.get("message") for choice in choices[:1] if isinstance(choice, Mapping)]
    elif isinstance(plain, Mapping) and isinstance(plain.get("messages"), list):
        plain = plain["messages"]
    elif isinstance(plain, Mapping) and isinstance(plain.get("output"), list):
        plain = [item for item in plain["output"] if isinstance(item, dict) and "role" in item]
    elif isinstance(plain, Mapping) and "content" in plain:
        plain = [{"role": "assistant", **plain}]
    elif isinstance(plain, str):
        plain = [{"role": "assistant", "content": plain}]
    return list(_messages(plain))


def _messages(values: Any) -> Iterator[dict[str, Any]]:
    for value in values if isinstance(values, list) else ():
        message = to_plain_json(value)
        if isinstance(message, dict) and "content" in message:
            yield message


def _turn(message: Mapping[str, Any]) -> tuple[Any, Any]:
    return message.get("role"), message.get("content")
