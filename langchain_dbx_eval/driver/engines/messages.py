"""Chat messages as plain text, for models that read text only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_dbx_eval.driver.engines.base import Message
from langchain_dbx_eval.driver.errors import invalid

__all__ = ["TEXT_PARTS", "content_texts", "text_messages", "transcript"]

TEXT_PARTS = ("text", "input_text")
"""The types of content parts that contain text."""


def text_messages(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Reduce validated messages to ``{"role", "content": str}``.

    Raises:
        RequestError: 400, for content that is not text, such as an image or a tool call.
    """
    return [
        {"role": message["role"], "content": _text(message, f"messages[{index}]")}
        for index, message in enumerate(messages)
    ]


def transcript(messages: Sequence[Message]) -> str:
    r"""Convert messages to a prompt for a model without a chat format.

    Args:
        messages: Validated messages.

    Returns:
        The text of a single user message; otherwise a transcript that ends with ``Assistant:``.

    Raises:
        RequestError: 400, as for `text_messages`.

    Examples:
        >>> question = {"role": "user", "content": "Hi"}
        >>> transcript([{"role": "system", "content": "Be brief."}, question])
        'System: Be brief.\nUser: Hi\nAssistant:'
    """
    texts = text_messages(messages)
    if len(texts) == 1 and texts[0]["role"] == "user":
        return texts[0]["content"]
    lines = [f"{text['role'].capitalize()}: {text['content']}\n" for text in texts]
    return "".join(lines) + "Assistant:"


def content_texts(message: Message) -> list[str]:
    """Return the texts of a message, without its images and tool calls."""
    content = message.get("content") or ()
    if isinstance(content, str):
        return [content]
    return [part["text"] for part in content if part["type"] in TEXT_PARTS]


def _text(message: Mapping[str, Any], path: str) -> str:
    if message.get("tool_calls"):
        raise invalid(f"'{path}.tool_calls': the model of this server does not support tools.")
    content = message["content"]
    if isinstance(content, str):
        return content
    for index, part in enumerate(content):
        if part["type"] not in TEXT_PARTS:
            at = f"'{path}.content[{index}]'"
            raise invalid(f"{at} must be of type 'text': the model of this server reads text only.")
    return "".join(part["text"] for part in content)
