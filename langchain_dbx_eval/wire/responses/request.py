"""`encode`: messages and parameters as the body of a Responses request.

The body is one that both OpenAI's API and MLflow 3.17's `ResponsesAgentRequest` accept: the latter
accepts ``output_text`` parts only in a message with an id, and only text, images and files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, SystemMessage, ToolMessage

from langchain_dbx_eval.errors import InvalidRequestError
from langchain_dbx_eval.wire.content.blocks import (
    blocks_of,
    cache_control_of,
    copy_of,
    extras_of,
    is_not_content,
    plain_text,
    text_or_parts,
)
from langchain_dbx_eval.wire.content.media import Media, decode_media
from langchain_dbx_eval.wire.metadata import is_provider_id
from langchain_dbx_eval.wire.openai.chat import role_of
from langchain_dbx_eval.wire.responses.response import Item
from langchain_dbx_eval.wire.tool_calls import arguments_text

__all__ = ["encode"]

# Blocks that are items of their own, not parts of a message; each is sent unchanged.
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
    """Return the body of a Responses request.

    Args:
        messages: The conversation; not changed. The `name` of a message is omitted: the API has no
            field for it.
        params: Everything else in the body, under the names of this API or of Chat Completions:
            ``max_tokens`` becomes ``max_output_tokens``, ``response_format`` becomes
            ``text.format``, ``reasoning_effort`` ``reasoning.effort``, ``verbosity``
            ``text.verbosity``, ``logprobs`` an ``include``; the inner ``function`` of tools and
            `tool_choice` is flattened. With ``store: False`` no ids are sent, because the provider
            stores nothing that they could refer to.

    Returns:
        ``{"input": [...], **params}``.

    Raises:
        InvalidRequestError: The API does not support a message or a parameter; the error names it,
            and an alternative.
    """
    body = _encode_params(params)
    with_ids = body.get("store") is not False
    return {"input": [item for message in messages for item in _items(message, with_ids)], **body}


def _items(message: BaseMessage, with_ids: bool) -> list[Item]:
    if isinstance(message, AIMessage):
        return _AssistantItems(message, with_ids).encode()
    items, parts = _split(message.content)
    if items and (isinstance(message, ToolMessage) or not parts):
        return items
    if isinstance(message, ToolMessage):
        texts = [part["text"] for part in parts if part["type"] == "input_text"]
        # Text alone is sent as a string: MLflow's converters read only strings in a tool's output.
        output = "\n".join(texts) if len(texts) == len(parts) else parts
        call_id = message.tool_call_id
        return [{"type": "function_call_output", "call_id": call_id, "output": output}]
    content = text_or_parts(parts)
    return [*items, {"type": "message", "role": _role(message), "content": content}]


def _role(message: BaseMessage) -> str:
    role = role_of(message, "the Responses API")
    if isinstance(message, SystemMessage):
        # LangChain marks OpenAI's "developer" messages so.
        role = message.additional_kwargs.get("__openai_role__", role)
    if role in ("user", "system", "developer", "assistant"):
        return role
    msg = (
        f"A {type(message).__name__} of role {role!r} cannot be sent to the Responses API. Give a "
        "human, AI, system or tool message."
    )
    raise InvalidRequestError(msg)


def _split(content: str | Sequence[Any]) -> tuple[list[Item], list[dict[str, Any]]]:
    """Return the items in a message's content, and the parts of the message itself."""
    items, parts = [], []
    for block in blocks_of(content):
        if block["type"] in _ITEM_TYPES:
            items.append(copy_of(block))
        elif not is_not_content(block) and block["type"] not in ("reasoning", "thinking"):
            parts.append(_part(block))
    return items, parts


def _part(block: Mapping[str, Any]) -> dict[str, Any]:
    if (text := plain_text(block)) is not None:
        part: dict[str, Any] = {"type": "input_text", "text": text}
    elif (media := decode_media(block)) is not None:
        part = _media_part(media)
    else:
        return copy_of(block)
    return {**part, **cache_control_of(block)}


def _media_part(media: Media) -> dict[str, Any]:
    inline = media.data_url if media.base64 else None
    if media.kind == "image":
        part: dict[str, Any] = {"type": "input_image", "file_id": media.file_id}
        part |= {"image_url": media.url or inline, "detail": media.detail}
    elif media.kind == "file":
        part = {"type": "input_file", "file_id": media.file_id, "file_url": media.url}
        part |= {"file_data": inline, "filename": media.name} if inline else {}
    else:
        msg = (
            f"The Responses API does not support {media.kind}. Use a Chat Completions endpoint, or "
            "give the part in the endpoint's own format, which is sent unchanged."
        )
        raise InvalidRequestError(msg)
    return {key: value for key, value in part.items() if value}


class _AssistantItems:
    """Encoder of one message of the model, whose blocks are several items."""

    def __init__(self, message: AIMessage, with_ids: bool) -> None:
        self._message = message
        self._calls: list[Any] = [*message.tool_calls, *message.invalid_tool_calls]
        self._with_ids = with_ids
        self._items: list[Item] = []
        self._texts: list[str] = []  # of the message item that is not closed
        self._text_id: str | None = None
        self._has_refusal = False

    def encode(self) -> list[Item]:
        """Return the items in the order of the blocks, then the calls without a block."""
        for block in blocks_of(self._message.content):
            self._add(block)
        self._close_text()
        if not self._has_refusal:
            self._add_refusal(self._message.additional_kwargs.get("refusal"))
        sent = [item["call_id"] for item in self._items if "call_id" in item]
        for call in self._calls:
            if call["id"] not in sent:
                self._items.append(_call_item(call["name"], call["args"], call["id"]))
        return self._items

    def _add(self, block: Mapping[str, Any]) -> None:
        kind = block["type"]
        if (text := plain_text(block)) is not None:
            is_own = self._with_ids and is_provider_id(block.get("id"))
            block_id = block["id"] if is_own else None
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
            self._items += _server_tool_item(block)
        elif kind in _ITEM_TYPES:
            self._items.append(copy_of(block))
        elif kind == "refusal":
            self._add_refusal(block.get("refusal"))
        elif not is_not_content(block) and kind != "thinking":
            msg = (
                f"An AI message with a content block of type {kind!r} cannot be sent to the "
                "Responses API, where the model's own messages are text. Remove the block, or send "
                "it as a human message."
            )
            raise InvalidRequestError(msg)

    def _close_text(self) -> None:
        if self._texts and self._text_id:
            parts = [{"type": "output_text", "text": t, "annotations": []} for t in self._texts]
            self._add_message(parts, id=self._text_id)
        elif self._texts:
            self._add_message("".join(self._texts))
        self._texts, self._text_id = [], None

    def _add_refusal(self, refusal: Any) -> None:
        if isinstance(refusal, str) and refusal:
            self._has_refusal = True
            # As plain text: an output message with a refusal part would need an id.
            self._add_message(refusal)

    def _add_message(self, content: Any, **fields: str) -> None:
        message = {"type": "message", "role": "assistant", "content": content}
        self._items.append({**message, **fields})

    def _add_reasoning(self, block: Mapping[str, Any]) -> None:
        if "summary" in block:  # the API's own item, which langchain-openai stores
            item = copy_of(block)
            if self._with_ids or item.get("encrypted_content"):
                self._items.append(item)
            return
        extras = extras_of(block)
        item_id = block.get("id")
        if not is_provider_id(item_id):
            return  # another provider's
        last = self._items[-1] if self._items else {}
        if (last.get("type"), last.get("id")) == ("reasoning", item_id):
            item = last
        elif self._with_ids or extras.get("encrypted_content"):
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
        # The arguments of the message's own field are sent: a user edits a call there.
        call = next((call for call in self._calls if call["id"] == call_id), None)
        if call is not None:
            item_id = extras_of(block).get("item_id") if self._with_ids else None
            self._items.append(_call_item(call["name"], call["args"], call_id, item_id))


def _call_item(name: Any, args: Any, call_id: Any, item_id: Any = None) -> Item:
    call = {"call_id": call_id, "name": name, "arguments": arguments_text(args)}
    return {"type": "function_call", **call, **({"id": item_id} if item_id else {})}


def _server_tool_item(block: Mapping[str, Any]) -> Iterator[Item]:
    """Yield a call that the agent ran, or its result; nothing for those of other providers."""
    extras = extras_of(block)
    if extras.get("item_type") == "function_call":
        args = extras.get("arguments") or block.get("args")
        yield _call_item(block.get("name"), args, block.get("id"), extras.get("item_id"))
    elif extras.get("item_type") == "function_call_output":
        output, call_id = deepcopy(block.get("output")), block.get("tool_call_id")
        yield {"type": "function_call_output", "call_id": call_id, "output": output}


def _encode_params(params: dict[str, Any]) -> dict[str, Any]:
    body = dict(params)
    if body.pop("stop", None):
        msg = (
            "The Responses API has no parameter 'stop'. Leave it out and cut the text yourself, or "
            "use a Chat Completions endpoint."
        )
        raise InvalidRequestError(msg)
    if (n := body.pop("n", None)) not in (None, 1):
        msg = f"The Responses API returns one answer per request, not n={n}. Send {n} requests."
        raise InvalidRequestError(msg)
    for name in ("max_tokens", "max_completion_tokens"):
        if (limit := body.pop(name, None)) is not None:
            body.setdefault("max_output_tokens", limit)
    if (effort := body.pop("reasoning_effort", None)) is not None:
        body["reasoning"] = {"effort": effort, **(body.get("reasoning") or {})}
    if (verbosity := body.pop("verbosity", None)) is not None:
        body["text"] = {"verbosity": verbosity, **(body.get("text") or {})}
    if response_format := body.pop("response_format", None):
        text_format = _flat(response_format, "json_schema")
        body["text"] = {**(body.get("text") or {}), "format": text_format}
    if body.pop("logprobs", None):
        body["include"] = [*(body.get("include") or ()), "message.output_text.logprobs"]
    options = body.pop("stream_options", None)
    # Usage always comes with the last event, and the API rejects a request for it.
    if rest := {key: v for key, v in (options or {}).items() if key != "include_usage"}:
        body["stream_options"] = rest
    if body.get("tools"):
        body["tools"] = [_flat(tool, "function") for tool in body["tools"]]
    if "tool_choice" in body:
        choice = _flat(body["tool_choice"], "function")
        body["tool_choice"] = "required" if choice == "any" else choice
    return body


def _flat(param: Any, nested: str) -> Any:
    """Return a parameter of Chat Completions with the fields of its nested object at its top."""
    if not isinstance(param, Mapping) or not isinstance(param.get(nested), Mapping):
        return param
    return {**{key: value for key, value in param.items() if key != nested}, **param[nested]}
