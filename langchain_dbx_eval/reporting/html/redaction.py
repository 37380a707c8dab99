"""The values of a report as plain JSON, without the texts that the user leaves out."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import Any

from langchain_dbx_eval.errors import ConfigurationError

__all__ = ["REDACTED", "Redaction", "Redactor"]

REDACTED = "[redacted]"

Redaction = str | re.Pattern[str]
"""A text to leave out, or a pattern of such texts."""

_MAX_TEXT = 1_000_000
_MAX_DEPTH = 100


class Redactor:
    """Convert values to plain JSON, with `REDACTED` in place of some texts.

    Args:
        redact: Texts and patterns. A text is also found inside JSON, where quotes and other
            characters of it are escaped.

    Raises:
        ConfigurationError: `redact` contains something else, or an empty text.
    """

    def __init__(self, redact: Iterable[Redaction] = ()) -> None:
        items = [redact] if isinstance(redact, str | re.Pattern) else list(redact)
        self._patterns: list[re.Pattern[str]] = []
        texts: set[str] = set()
        for item in items:
            if isinstance(item, re.Pattern) and isinstance(item.pattern, str):
                self._patterns.append(item)
            elif isinstance(item, str) and item:
                texts |= {item, *(json.dumps(item, ensure_ascii=a)[1:-1] for a in (True, False))}
            else:
                msg = f"'redact' takes texts and patterns of re.compile, got: {item!r:.60}."
                raise ConfigurationError(msg)
        if texts:
            longest_first = sorted(texts, key=len, reverse=True)
            self._patterns.insert(0, re.compile("|".join(map(re.escape, longest_first))))

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def text(self, text: str) -> str:
        """Return a text without what is left out."""
        for pattern in self._patterns:
            text = pattern.sub(REDACTED, text)
        if len(text) > _MAX_TEXT:
            text = f"{text[:_MAX_TEXT]} … ({len(text) - _MAX_TEXT:,} more characters)"
        return text

    def __call__(self, value: Any, depth: int = 0) -> Any:
        """Return a value of plain types without what is left out.

        A NaN or infinite number, which JSON has no form for, is a text.
        """
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, float) and not math.isfinite(value):
            return str(value)
        if value is None or isinstance(value, int | float):
            return value
        if depth > _MAX_DEPTH:
            return "…"
        if isinstance(value, dict):
            return {self.text(str(k)): self(item, depth + 1) for k, item in value.items()}
        if isinstance(value, list | tuple):
            return [self(item, depth + 1) for item in value]
        return self.text(str(value))
