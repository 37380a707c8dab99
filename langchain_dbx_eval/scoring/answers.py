"""What a chain gave back, as the text to score."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from langchain_core.messages import BaseMessage

__all__ = ["answer_text"]


def answer_text(answer: Any) -> str | None:
    """Find the text in an answer.

    Args:
        answer: A text, a message, a ``ChatCompletionResponse`` (``{"choices": …}``), a
            ``StringResponse`` (``{"content": …}``), a state with ``{"messages": […]}`` or a list
            of messages (the last one counts), or any JSON.

    Returns:
        The text; any other JSON as JSON; None for no answer.
    """
    if answer is None or isinstance(answer, str):
        return answer
    if isinstance(answer, BaseMessage):
        return answer.text
    if isinstance(answer, list) and answer and _is_message(answer[-1]):
        return answer_text(answer[-1])
    if isinstance(answer, Mapping):
        choices, messages = answer.get("choices"), answer.get("messages")
        if isinstance(choices, list) and choices and isinstance(choices[0], Mapping):
            return answer_text(choices[0].get("message", choices[0].get("text")))
        if isinstance(messages, list) and messages:
            return answer_text(messages[-1])
        if isinstance(content := answer.get("content"), str):
            return content
        if isinstance(content, list):
            return "".join(block["text"] for block in content if _is_text_block(block))
    return json.dumps(answer, ensure_ascii=False, default=str)


def _is_message(value: Any) -> bool:
    return isinstance(value, BaseMessage) or (isinstance(value, Mapping) and "content" in value)


def _is_text_block(block: Any) -> bool:
    return isinstance(block, Mapping) and isinstance(block.get("text"), str)
