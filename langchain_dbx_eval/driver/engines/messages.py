"""The messages of a chat request: their check, and what a text model is given for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_dbx_eval.driver.engines.base import Message
from langchain_dbx_eval.driver.engines.parameters import json_type
from langchain_dbx_eval.driver.errors import invalid

__all__ = ["MAX_MESSAGES", "checked_messages", "text_messages", "transcript"]

MAX_MESSAGES = 1_000
_TEXT_PARTS = ("text", "input_text")
_ROLES = ("system", "developer", "user", "assistant", "tool")


def checked_messages(value: object) -> tuple[Message, ...]:
    """Check the ``messages`` of a chat request.

    Args:
        value: The decoded JSON.

    Returns:
        The messages as they came, each an object with a known ``role`` and usable ``content``.

    Raises:
        RequestError: 400, which names the message by its place.
    """
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_MESSAGES:
        raise invalid(f"'messages' must be a list of 1 to {MAX_MESSAGES} messages.")
    for number, message in enumerate(value):
        _check(message, f"messages[{number}]")
    return tuple(value)


def text_messages(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Reduce messages to what a text model reads: ``{"role", "content": str}``.

    Raises:
        RequestError: 400, for content that is no text, such as an image or a tool call.
    """
    return [
        {"role": message["role"], "content": _text(message, f"messages[{number}]")}
        for number, message in enumerate(messages)
    ]


def transcript(messages: Sequence[Message]) -> str:
    r"""Make a prompt for a model without a conversation format.

    Args:
        messages: Checked messages.

    Returns:
        The text of a lone message of the user; else a transcript that ends where the assistant
        speaks next.

    Raises:
        RequestError: 400, as for `text_messages`.

    Examples:
        >>> asked = {"role": "user", "content": "Hi"}
        >>> transcript([{"role": "system", "content": "Be brief."}, asked])
        'System: Be brief.\nUser: Hi\nAssistant:'
    """
    texts = text_messages(messages)
    if len(texts) == 1 and texts[0]["role"] == "user":
        return texts[0]["content"]
    lines = [f"{text['role'].capitalize()}: {text['content']}\n" for text in texts]
    return "".join(lines) + "Assistant:"


def _check(message: object, place: str) -> None:
    if not isinstance(message, dict):
        raise invalid(f"{place} must be an object, not {json_type(message)}.")
    if message.get("role") not in _ROLES:
        raise invalid(f"{place}.role must be one of: {', '.join(_ROLES)}.")
    content, calls = message.get("content"), message.get("tool_calls")
    if calls is not None and not (
        isinstance(calls, list) and all(isinstance(call, dict) for call in calls)
    ):
        raise invalid(f"{place}.tool_calls must be a list of objects.")
    if content is None and not calls:
        raise invalid(f"{place}.content is missing.")
    if isinstance(content, list):
        for number, part in enumerate(content):
            if not isinstance(part, dict) or not isinstance(part.get("type"), str):
                raise invalid(f"{place}.content[{number}] must be an object with a 'type'.")
            if part["type"] in _TEXT_PARTS and not isinstance(part.get("text"), str):
                raise invalid(f"{place}.content[{number}].text must be a string.")
    elif content is not None and not isinstance(content, str):
        raise invalid(f"{place}.content must be a string or a list, not {json_type(content)}.")


def _text(message: Mapping[str, Any], place: str) -> str:
    if message.get("tool_calls"):
        raise invalid(f"{place}.tool_calls: the model of this server takes no tools.")
    content = message["content"]
    if isinstance(content, str):
        return content
    return "".join(_part(part, f"{place}.content[{n}]") for n, part in enumerate(content))


def _part(part: Mapping[str, Any], place: str) -> str:
    if part["type"] not in _TEXT_PARTS:
        raise invalid(f"{place}: the model of this server takes parts of type 'text' only.")
    return str(part["text"])
