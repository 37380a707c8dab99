"""An estimate of token counts, for models whose tokenizer is unknown.

One token per 4 bytes of UTF-8: OpenAI's rule of thumb for English ("1 token ~= 4 chars"). In bytes,
because one character of Korean or Chinese has 3 bytes, and about one token.
"""

from __future__ import annotations

__all__ = ["TokenLimit", "estimate_tokens"]

_BYTES_PER_TOKEN = 4


def estimate_tokens(text: str) -> int:
    """Estimate the number of tokens of a text, rounded up.

    Examples:
        >>> estimate_tokens("Hello world")
        3
    """
    return (_byte_count(text) + _BYTES_PER_TOKEN - 1) // _BYTES_PER_TOKEN


class TokenLimit:
    """Incremental filter that ends a completion at an estimated number of tokens.

    Args:
        tokens: The maximum number of tokens; None: no limit.
    """

    def __init__(self, tokens: int | None) -> None:
        self._remaining = None if tokens is None else tokens * _BYTES_PER_TOKEN
        self.exceeded = False
        """Whether text was cut off."""

    def feed(self, text: str) -> str:
        """Add the next part of the completion, and return what is within the limit."""
        if self._remaining is None:
            return text
        size = _byte_count(text)
        if size > self._remaining:
            self.exceeded = True
            encoded, size = text.encode("utf-8", "surrogatepass"), self._remaining
            while encoded[size] & 0xC0 == 0x80:  # in the middle of a character
                size -= 1
            text, size = encoded[:size].decode("utf-8", "surrogatepass"), self._remaining
        self._remaining -= size
        return text


def _byte_count(text: str) -> int:
    # Half of a surrogate pair, which a model may generate, has no UTF-8.
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
