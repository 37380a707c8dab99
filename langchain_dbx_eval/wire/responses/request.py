"""The body of a Responses request: LangChain messages and parameters to OpenAI's items.

What is sent is what both OpenAI's API and MLflow 3.17's `ResponsesAgentRequest` accept: the latter
takes ``output_text`` parts only in a message with an id, and no parts but text, images and files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from langchain_dbx_eval.errors import InvalidRequestError
from langchain_dbx_eval.wire.content.blocks import elsewhere, plain_text, unwrapped
from langchain_dbx_eval.wire.content.media import Media, read_media
from langchain_dbx_eval.wire.responses.items import Item

__all__ = ["encode"]

# LangChain and langchain-openai make up ids with these; only the provider's own mean anything.
_MADE_UP_IDS = ("lc_", "run-")
# Blocks that are no part of a message but items of their own, each sent as it stands.
_ITEM_TYPES = frozenset(
    {
        "apply_patch_call",
        "apply_patch_call_output",
        "code_interpreter_call",
        "compaction",
        "computer_call",
        "computer_call_output",
        "custom_tool_call",
        "custom_tool_call_output",
        "file_search_call",
        "function_call",
        "function_call_output",
        "image_generation_call",
        "mcp_approval_request",
        "mcp_approval_response",
        "mcp_call",
        "mcp_list_tools",
        "tool_search_call",
        "tool_search_output",
        "web_search_call",
    }
)


def encode(messages: Sequence[BaseMessage], params: dict[str, Any]) -> dict[str, Any]:
    """Make the body of a Responses request.

    Args:
        messages: The conversation so far; it is not changed. A message's `name` is left out: the
            API has no place for it.
        params: Everything else of the body, in the words of this API or of Chat Completions:
            ``max_tokens`` becomes ``max_output_tokens``, ``response_format`` becomes
            ``text.format``, ``reasoning_effort`` ``reasoning.effort``, ``verbosity``
            ``text.verbosity``, ``logprobs`` an ``include``; tools and `tool_choice` lose their
            inner ``function``. With ``store: False`` no ids are sent, because the provider keeps
            nothing that they could refer to.

    Returns:
        ``{"input": [...], **params}``.

    Raises:
        InvalidRequestError: A message or a parameter has no place in this API; the message says
            which, and what to do.
    """
    body = _encode_params(params)
    ids = body.get("store") is not False
    return {"input": [item for message in messages for item in _items(message, ids)], **body}


def _items(message: BaseMessage, ids: bool) -> list[Item]:
    if isinstance(message, AIMessage):
        return _Assistant(message, ids).items()
    if isinstance(message, ToolMessage):
        items, parts = _split(message.content)
        if items:
            return items
        texts = [part["text"] for part in parts if part["type"] == "input_text"]
        # Text alone goes as text: MLflow's own converters read nothing else out of a tool's output.
        output = "\n".join(texts) if len(texts) == len(parts) else parts
        call_id = message.tool_call_id
        return [{"type": "function_call_output", "call_id": call_id, "output": output}]
    items, parts = _split(message.content)
    if not parts and items:
        return items
    content: Any = parts
    if len(parts) <= 1 and all(part.keys() == {"type", "text"} for part in parts):
        content = "".join(part["text"] for part in parts)
    return [*items, {"type": "message", "role": _role(message), "content": content}]


def _role(message: BaseMessage) -> str:
    if isinstance(message, ChatMessage):
        role = message.role
    elif isinstance(message, SystemMessage):
        # The mark by which LangChain knows OpenAI's "developer" messages.
        role = message.additional_kwargs.get("__openai_role__", "system")
    else:
        role = "user" if isinstance(message, HumanMessage) else ""
    if role in ("user", "system", "developer", "assistant"):
        return role
    what = f"a {type(message).__name__}" + (f" of role {role!r}" if role else "")
    msg = f"The Responses API has no place for {what}: give a human, AI, system or tool message."
    raise InvalidRequestError(msg)


def _split(content: str | Sequence[Any]) -> tuple[list[Item], list[dict[str, Any]]]:
    """The items that a message's content holds, and the parts of the message itself."""
    blocks = [content] if isinstance(content, str) else content
    items, parts = [], []
    for raw in blocks:
        block = unwrapped(raw)
        if block["type"] in _ITEM_TYPES:
            items.append(_plain(block))
        elif not elsewhere(block) and block["type"] not in ("reasoning", "thinking"):
            parts.append(_part(block))
    return items, parts


def _part(block: Mapping[str, Any]) -> dict[str, Any]:
    if (text := plain_text(block)) is not None:
        part: dict[str, Any] = {"type": "input_text", "text": text}
    elif (media := read_media(block)) is not None:
        part = _media_part(media)
    else:
        return _plain(block)
    extras = block.get("extras")
    mark = block.get("cache_control") or (
        extras.get("cache_control") if isinstance(extras, Mapping) else None
    )
    return {**part, "cache_control": deepcopy(mark)} if mark else part


def _media_part(media: Media) -> dict[str, Any]:
    inline = media.data_url if media.base64 else None
    if media.kind == "image":
        place = {"file_id": media.file_id, "image_url": media.url or inline}
        found: dict[str, Any] = {"type": "input_image", **place, "detail": media.detail}
    elif media.kind == "file":
        name = media.filename or f"file.{(media.mime_type or '').rpartition('/')[2]}"
        found = {"type": "input_file", "file_id": media.file_id, "file_url": media.url}
        found |= {"file_data": inline, "filename": name} if inline else {}
    else:
        msg = (
            f"The Responses API cannot be given {media.kind}. Use an endpoint that speaks Chat "
            "Completions, or give the part in the endpoint's own form, which is sent as it is."
        )
        raise InvalidRequestError(msg)
    return {key: value for key, value in found.items() if value}


class _Assistant:
    """Takes apart one message of the model, whose blocks are several items."""

    def __init__(self, message: AIMessage, ids: bool) -> None:
        self._message = message
        self._ids = ids
        self._items: list[Item] = []
        self._texts: list[str] = []  # of the message that is being put together
        self._text_id: str | None = None

    def items(self) -> list[Item]:
        """The items, in the order of the blocks, then the calls that no block stands for."""
        content = self._message.content
        for raw in [content] if isinstance(content, str) else content:
            self._take(unwrapped(raw))
        self._close_text()
        self._add_refusal()
        sent = [item["call_id"] for item in self._items if "call_id" in item]
        for call in (*self._message.tool_calls, *self._message.invalid_tool_calls):
            if call["id"] not in sent:
                self._items.append(_call_item(call["name"], call["args"], call["id"]))
        return self._items

    def _take(self, block: Mapping[str, Any]) -> None:
        kind = block["type"]
        if (text := plain_text(block)) is not None:
            block_id = self._own_id(block)
            if block_id != self._text_id:
                self._close_text()
            self._text_id = block_id
            self._texts += [text] if text else []
            return
        self._close_text()
        if kind == "reasoning":
            self._add_reasoning(block)
        elif kind in ("tool_call", "invalid_tool_call"):
            self._add_call(block)
        elif kind in ("server_tool_call", "server_tool_result"):
            self._items += _agents_own_call(block)
        elif kind in _ITEM_TYPES:
            self._items.append(_plain(block))
        elif not elsewhere(block) and kind not in ("thinking", "refusal"):
            msg = (
                f"An AI message with a content block of type {kind!r} cannot be sent to the "
                "Responses API, where the model's own messages are text. Take the block out, or "
                "give it as a human message."
            )
            raise InvalidRequestError(msg)

    def _own_id(self, block: Mapping[str, Any]) -> str | None:
        block_id = block.get("id")
        if self._ids and isinstance(block_id, str) and not block_id.startswith(_MADE_UP_IDS):
            return block_id or None
        return None

    def _close_text(self) -> None:
        if self._texts and self._text_id:
            parts = [{"type": "output_text", "text": t, "annotations": []} for t in self._texts]
            self._items.append(_message_item(parts, self._text_id))
        elif self._texts:
            text = "".join(self._texts)
            self._items.append({"type": "message", "role": "assistant", "content": text})
        self._texts, self._text_id = [], None

    def _add_refusal(self) -> None:
        refusal = self._message.additional_kwargs.get("refusal")
        if not isinstance(refusal, str) or not refusal:
            return
        # As plain text: an output message with a refusal part would need an id of its own.
        self._items.append({"type": "message", "role": "assistant", "content": refusal})

    def _add_reasoning(self, block: Mapping[str, Any]) -> None:
        if "summary" in block:  # the API's own item, as langchain-openai keeps it
            item = _plain(block)
            if self._ids or item.get("encrypted_content"):
                self._items.append(item)
            return
        given = block.get("extras")
        extras: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
        item_id = block.get("id")
        if not isinstance(item_id, str) or item_id.startswith(_MADE_UP_IDS):
            return  # another provider's: nobody here can do anything with it
        last = self._items[-1] if self._items else {}
        if (last.get("type"), last.get("id")) == ("reasoning", item_id):
            item = last
        elif self._ids or extras.get("encrypted_content"):
            item = {"type": "reasoning", "id": item_id, "summary": []}
            self._items.append(item)
        else:
            return
        if extras.get("encrypted_content"):
            item["encrypted_content"] = extras["encrypted_content"]
        if text := block.get("reasoning"):
            signed = {"signature": extras["signature"]} if extras.get("signature") else {}
            as_content = extras.get("part") == "reasoning_text"
            part = {"type": "reasoning_text" if as_content else "summary_text", "text": text}
            item.setdefault("content" if as_content else "summary", []).append({**part, **signed})

    def _add_call(self, block: Mapping[str, Any]) -> None:
        call_id = block.get("id")
        # The message's own fields are what counts: a user who edits a call edits those.
        calls: list[Any] = [*self._message.tool_calls, *self._message.invalid_tool_calls]
        call = next((call for call in calls if call["id"] == call_id), None)
        if call is None:
            return
        extras = block.get("extras")
        item_id = extras.get("item_id") if self._ids and isinstance(extras, Mapping) else None
        self._items.append(_call_item(call["name"], call["args"], call_id, item_id))


def _message_item(parts: list[dict[str, Any]], item_id: str) -> Item:
    return {"type": "message", "id": item_id, "role": "assistant", "content": parts}


def _call_item(name: Any, args: Any, call_id: Any, item_id: Any = None) -> Item:
    arguments = args if isinstance(args, str) else json.dumps(args or {}, ensure_ascii=False)
    item = {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments}
    return {**item, "id": item_id} if item_id else item


def _agents_own_call(block: Mapping[str, Any]) -> Iterator[Item]:
    """A call that the agent carried out itself, or its result; other providers' are left out."""
    given = block.get("extras")
    extras: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    if extras.get("item_type") == "function_call":
        args = extras.get("arguments") or block.get("args")
        yield _call_item(block.get("name"), args, block.get("id"), extras.get("item_id"))
    elif extras.get("item_type") == "function_call_output":
        output, call_id = deepcopy(block.get("output")), block.get("tool_call_id")
        yield {"type": "function_call_output", "call_id": call_id, "output": output}


def _plain(block: Mapping[str, Any]) -> dict[str, Any]:
    return {key: deepcopy(value) for key, value in block.items() if key != "index"}


def _encode_params(params: dict[str, Any]) -> dict[str, Any]:
    body = dict(params)
    if body.pop("stop", None):
        msg = (
            "The Responses API has no 'stop'. Leave it out and cut the text yourself, or use an "
            "endpoint that speaks Chat Completions."
        )
        raise InvalidRequestError(msg)
    if (n := body.pop("n", None)) not in (None, 1):
        msg = f"The Responses API gives one answer to a request, not n={n}. Ask {n} times."
        raise InvalidRequestError(msg)
    for name in ("max_tokens", "max_completion_tokens"):
        if (limit := body.pop(name, None)) is not None:
            body.setdefault("max_output_tokens", limit)
    if (effort := body.pop("reasoning_effort", None)) is not None:
        body["reasoning"] = {"effort": effort, **(body.get("reasoning") or {})}
    if (verbosity := body.pop("verbosity", None)) is not None:
        body["text"] = {"verbosity": verbosity, **(body.get("text") or {})}
    if response_format := body.pop("response_format", None):
        body["text"] = {**(body.get("text") or {}), "format": _text_format(response_format)}
    if body.pop("logprobs", None):
        body["include"] = [*(body.get("include") or ()), "message.output_text.logprobs"]
    options = body.pop("stream_options", None)
    # Usage always comes with the last event here, and the API refuses to be asked for it.
    if rest := {key: v for key, v in (options or {}).items() if key != "include_usage"}:
        body["stream_options"] = rest
    if body.get("tools"):
        body["tools"] = [_flat(tool) for tool in body["tools"]]
    if "tool_choice" in body:
        choice = _flat(body["tool_choice"])
        body["tool_choice"] = "required" if choice == "any" else choice
    return body


def _flat(tool: Any) -> Any:
    """A tool or a choice of one, without the inner ``function`` of Chat Completions."""
    if not isinstance(tool, Mapping) or not isinstance(tool.get("function"), Mapping):
        return tool
    return {**{key: value for key, value in tool.items() if key != "function"}, **tool["function"]}


def _text_format(response_format: Any) -> Any:
    """A `response_format` of Chat Completions in the words of ``text.format``."""
    if isinstance(response_format, Mapping):
        schema = response_format.get("json_schema")
        if isinstance(schema, Mapping):
            return {"type": "json_schema", **schema}
    return response_format
