"""Our answers as LangChain's standard content blocks, for `message.content_blocks`.

`blocks` has read the content into standard blocks already; what is
left is to put the tool calls beside them, and to number a stream's.
"""

from __future__ import annotations

from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.block_translators import register_translator
from langchain_core.messages.content import ContentBlock

__all__ = ["register"]

_CALLS = frozenset({"tool_call", "invalid_tool_call", "tool_call_chunk"})


def register() -> None:
    """Make core use this translator for our messages."""
    register_translator("databricks", _of_message, _of_chunk)


def _of_message(message: AIMessage) -> list[ContentBlock]:
    calls = [{"type": "tool_call", **_without_type(call)} for call in message.tool_calls]
    bad = [{"type": "invalid_tool_call", **_without_type(b)} for b in message.invalid_tool_calls]
    return _beside(_content(message), [*calls, *bad])


def _of_chunk(message: AIMessageChunk) -> list[ContentBlock]:
    if message.chunk_position == "last" or not message.tool_call_chunks:
        return _of_message(message)
    pieces = [{"type": "tool_call_chunk", **_without_type(c)} for c in message.tool_call_chunks]
    return _beside(_content(message), pieces)


def _content(message: AIMessage) -> list[dict[str, Any]]:
    content: Any = message.content
    parts = [content] if isinstance(content, str) else content
    blocks = [{"type": "text", "text": p} if isinstance(p, str) else dict(p) for p in parts if p]
    if reasoning := message.additional_kwargs.get("reasoning_content"):
        blocks.insert(0, {"type": "reasoning", "reasoning": reasoning})
    return blocks


def _beside(blocks: list[dict[str, Any]], calls: list[dict[str, Any]]) -> list[ContentBlock]:
    """Content and calls.

    A call that stands in the content already stays where it is: there it may say more of itself,
    such as the id of its item in the Responses API.
    """
    ids = {call["id"] for call in calls}
    kept = [b for b in blocks if b.get("type") not in _CALLS or b.get("id") in ids]
    there = {block.get("id") for block in kept if block.get("type") in _CALLS}
    return [*kept, *(call for call in calls if call["id"] not in there)]  # type: ignore[list-item]


def _without_type(call: Any) -> dict[str, Any]:
    return {name: value for name, value in call.items() if name != "type"}
