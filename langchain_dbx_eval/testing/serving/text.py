"""Text of messages, token counts and usage.

A token is a word between white space, unless an engine counts the tokens: sufficient to test that
usage arrives and adds up, and easy to verify by hand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["count_tokens", "message_text", "split_words", "usage"]


def count_tokens(text: str) -> int:
    """Return the number of words, which count as tokens."""
    return len(text.split())


def split_words(text: str) -> list[str]:
    """Split a text into the parts of a stream: words, each with the white space after it."""
    return re.findall(r"\S+\s*|\s+", text)


def message_text(message: Mapping[str, Any]) -> str:
    """Return the text of a message whose content is a string or a list of blocks."""
    content = message.get("content")
    if isinstance(content, list):
        return "".join(str(block.get("text", "")) for block in content)
    return content or ""


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    """Return token counts in OpenAI's format."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }
