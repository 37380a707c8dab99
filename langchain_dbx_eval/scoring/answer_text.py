"""What was asked and what a chain gave back, as the texts to score."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from langchain_core.messages import BaseMessage

__all__ = ["answer_text", "request_text"]

# What chains call their question, in the order in which it is looked for.
_QUESTION_KEYS = ("query", "question", "input", "prompt", "request")


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


def request_text(request: Any) -> str:
    """Find the question in a request: of a conversation, its last turn.

    Args:
        request: A text, messages (``{"messages": […]}`` or a list), a query with its history
            (``{"query": …, "history": […]}``), a dict with a question under a usual key, or any
            JSON.

    Returns:
        The last message of the user; any other JSON as JSON.
    """
    if isinstance(request, str):
        return request
    messages = request.get("messages") if isinstance(request, Mapping) else request
    if isinstance(messages, list) and messages and all(map(_is_message, messages)):
        asked = [message for message in messages if _role(message) in {"user", "human"}]
        return answer_text(asked[-1] if asked else messages[-1]) or ""
    if isinstance(request, Mapping):
        for key in _QUESTION_KEYS:
            if isinstance(text := request.get(key), str):
                return text
    return json.dumps(request, ensure_ascii=False, default=str)


def _role(message: Any) -> str | None:
    return message.type if isinstance(message, BaseMessage) else message.get("role")


def _is_message(value: Any) -> bool:
    return isinstance(value, BaseMessage) or (isinstance(value, Mapping) and "content" in value)


def _is_text_block(block: Any) -> bool:
    return isinstance(block, Mapping) and isinstance(block.get("text"), str)
