"""Databricks messages as LangChain's standard content blocks, for `message.content_blocks`.

`blocks` decodes the content into standard blocks. The translator adds the tool calls.
"""

from __future__ import annotations

from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.block_translators import register_translator
from langchain_core.messages.content import ContentBlock

from langchain_dbx_eval.wire.metadata import PROVIDER

__all__ = ["register"]

_CALLS = frozenset({"tool_call", "invalid_tool_call", "tool_call_chunk"})


def register() -> None:
    """Register the translator with langchain-core."""
    register_translator(PROVIDER, _translate_message, _translate_chunk)


def _translate_message(message: AIMessage) -> list[ContentBlock]:
    calls = [{**call, "type": "tool_call"} for call in message.tool_calls]
    invalid = [{**call, "type": "invalid_tool_call"} for call in message.invalid_tool_calls]
    return _merge(_content(message), [*calls, *invalid])


def _translate_chunk(message: AIMessageChunk) -> list[ContentBlock]:
    if message.chunk_position == "last" or not message.tool_call_chunks:
        return _translate_message(message)
    calls = [{**call, "type": "tool_call_chunk"} for call in message.tool_call_chunks]
    return _merge(_content(message), calls)


def _content(message: AIMessage) -> list[dict[str, Any]]:
    content: Any = message.content
    parts = [content] if isinstance(content, str) else content
    blocks = [{"type": "text", "text": p} if isinstance(p, str) else dict(p) for p in parts if p]
    if reasoning := message.additional_kwargs.get("reasoning_content"):
        blocks.insert(0, {"type": "reasoning", "reasoning": reasoning})
    return blocks


def _merge(blocks: list[dict[str, Any]], calls: list[dict[str, Any]]) -> list[ContentBlock]:
    """Add calls to content blocks.

    A call that is in the content already keeps its block, which may have more fields, such as the
    id of its item in the Responses API.
    """
    ids = {call["id"] for call in calls}
    kept = [b for b in blocks if b.get("type") not in _CALLS or b.get("id") in ids]
    present = {block.get("id") for block in kept if block.get("type") in _CALLS}
    return [*kept, *(call for call in calls if call["id"] not in present)]  # type: ignore[list-item]
