"""The texts of requests and responses of any documented form."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.documents import Document
from langchain_core.messages import BaseMessage, convert_to_openai_messages

__all__ = ["answer_text", "is_empty_answer", "request_text", "to_plain_json"]

# In the order of precedence.
_QUESTION_KEYS = ("query", "question", "input", "prompt", "request")

# Keys of a message without text that still says something.
_OTHER_CONTENT = ("tool_calls", "function_call", "refusal", "audio")
_TEXT_BLOCKS = ("text", "output_text", "input_text", "reasoning", "thinking", None)


def answer_text(answer: Any) -> str | None:
    """Return the text of a response.

    Args:
        answer: A string, a message, a ``ChatCompletionResponse`` (``{"choices": …}``), a
            ``StringResponse`` (``{"content": …}``), ``{"messages": […]}``, a list of messages or
            the ``{"output": […]}`` of a ResponsesAgent (the last message counts), or any other JSON
            value.

    Returns:
        The text; for any other JSON value, its JSON; None for None.
    """
    if answer is None or isinstance(answer, str):
        return answer
    if isinstance(answer, BaseMessage):
        return _message_text(answer)
    if isinstance(answer, list) and answer and _is_message(answer[-1]):
        return answer_text(answer[-1])
    if isinstance(answer, Mapping):
        choices, messages = answer.get("choices"), answer.get("messages")
        if isinstance(choices, list) and choices and isinstance(choices[0], Mapping):
            return answer_text(choices[0].get("message", choices[0].get("text")))
        if isinstance(messages, list) and messages:
            return answer_text(messages[-1])
        if isinstance(output := answer.get("output"), list):
            items = [item for item in output if _is_message(item) and _is_of_assistant(item)]
            if items:
                return answer_text(items[-1])
        if isinstance(content := answer.get("content"), str):
            return content
        if content is None and "content" in answer and not _has_other_content(answer):
            return ""
        if isinstance(content, list):
            return "".join(block["text"] for block in content if _is_text_block(block))
    return json.dumps(answer, ensure_ascii=False, default=str)


def is_empty_answer(answer: Any) -> bool:
    """Return whether a response of any form of `answer_text` contains nothing.

    A response without text that calls tools, refuses, or contains an image is not empty.
    """
    text = answer_text(answer)
    return (text is None or not text.strip()) and not _has_other_content(answer)


def request_text(request: Any) -> str:
    """Return the text of a request.

    Args:
        request: A string, messages (a list, or under ``messages`` or ``input``), a query with its
            history (``{"query": …, "history": […]}``), a dict with the question under a common key
            (``question``, ``input``, ``prompt``, ``request``), or any other JSON value.

    Returns:
        The question; of a conversation, the last message of the user; for any other JSON value,
        its JSON.
    """
    if isinstance(request, str):
        return request
    messages = request
    if isinstance(request, Mapping):
        messages = request.get("messages") or request.get("input")
    if isinstance(messages, list) and messages and all(map(_is_message, messages)):
        of_user = [message for message in messages if _role(message) in {"user", "human"}]
        return answer_text(of_user[-1] if of_user else messages[-1]) or ""
    if isinstance(request, Mapping):
        for key in _QUESTION_KEYS:
            if isinstance(text := request.get(key), str):
                return text
    return json.dumps(request, ensure_ascii=False, default=str)


def to_plain_json(value: Any) -> Any:
    """Return the input or output of a step as plain JSON, in the forms that MLflow's UI renders."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, BaseMessage):
        return convert_to_openai_messages(value)
    if isinstance(value, Document):
        return {"page_content": value.page_content, "metadata": to_plain_json(value.metadata)}
    if isinstance(value, Mapping):
        return {str(key): to_plain_json(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [to_plain_json(item) for item in value]
    return str(value)


def _message_text(message: BaseMessage) -> str:
    """Return the text of a message; of several messages of an agent in one, that of the last."""
    content = message.content if isinstance(message.content, list) else []
    blocks = [block for block in content if isinstance(block, dict) and _is_text_block(block)]
    if len({block.get("id") for block in blocks}) > 1:
        return "".join(block["text"] for block in blocks if block.get("id") == blocks[-1].get("id"))
    return message.text


def _has_other_content(answer: Any) -> bool:
    """Return whether the last message of an answer has a part that is not text or reasoning."""
    if isinstance(answer, Mapping) and "content" not in answer:
        choices = answer.get("choices")
        if isinstance(choices, list) and choices and isinstance(choices[0], Mapping):
            return _has_other_content(choices[0].get("message"))
        answer = answer.get("messages") or answer.get("output")
    if isinstance(answer, list) and answer:
        return _has_other_content(answer[-1])
    if isinstance(answer, BaseMessage):
        fields = {"content": answer.content, "tool_calls": getattr(answer, "tool_calls", None)}
        fields |= answer.additional_kwargs
    else:
        fields = dict(answer) if isinstance(answer, Mapping) else {}
    content = fields.get("content")
    blocks = content if isinstance(content, list) else []
    return any(fields.get(name) for name in _OTHER_CONTENT) or any(
        isinstance(block, Mapping) and block.get("type") not in _TEXT_BLOCKS for block in blocks
    )


def _is_of_assistant(item: Any) -> bool:
    is_message = item.get("type", "message") == "message"
    return bool(is_message and item.get("role", "assistant") == "assistant")


def _role(message: Any) -> str | None:
    return message.type if isinstance(message, BaseMessage) else message.get("role")


def _is_message(value: Any) -> bool:
    return isinstance(value, BaseMessage) or (isinstance(value, Mapping) and "content" in value)


def _is_text_block(block: Any) -> bool:
    return isinstance(block, Mapping) and isinstance(block.get("text"), str)
