"""Our answers as LangChain's standard content blocks, for `message.content_blocks`.

`langchain_dbx_eval.wire.blocks` has read the content into standard blocks already; what is left is
to put the tool calls beside them, and to number a stream's.
"""

from __future__ import annotations

from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.block_translators import register_translator
from langchain_core.messages.content import ContentBlock

__all__ = ["register"]


def register() -> None:
    """Make core use this translator for our messages."""
    register_translator("databricks", _of_message, _of_chunk)


def _of_message(message: AIMessage) -> list[ContentBlock]:
    blocks = _content(message)
    blocks += [{"type": "tool_call", **_without_type(call)} for call in message.tool_calls]
    blocks += [
        {"type": "invalid_tool_call", **_without_type(bad)} for bad in message.invalid_tool_calls
    ]
    return blocks  # type: ignore[return-value]


def _of_chunk(message: AIMessageChunk) -> list[ContentBlock]:
    if message.chunk_position == "last" or not message.tool_call_chunks:
        return _of_message(message)
    blocks = _content(message)
    blocks += [
        {"type": "tool_call_chunk", **_without_type(call)} for call in message.tool_call_chunks
    ]
    return blocks  # type: ignore[return-value]


def _content(message: AIMessage) -> list[dict[str, Any]]:
    content: Any = message.content
    parts = [content] if isinstance(content, str) else content
    blocks = [{"type": "text", "text": p} if isinstance(p, str) else dict(p) for p in parts if p]
    if reasoning := message.additional_kwargs.get("reasoning_content"):
        blocks.insert(0, {"type": "reasoning", "reasoning": reasoning})
    # In `output_version="v1"`, core has put the calls among the content already.
    calls = {"tool_call", "invalid_tool_call", "tool_call_chunk"}
    return [block for block in blocks if block.get("type") not in calls]


def _without_type(call: Any) -> dict[str, Any]:
    return {name: value for name, value in call.items() if name != "type"}
