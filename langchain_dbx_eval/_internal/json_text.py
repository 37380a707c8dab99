"""A fast JSON parser that accepts everything that Python's accepts."""

from __future__ import annotations

import json
from typing import Any

import orjson

__all__ = ["loads"]


def loads(text: bytes | str) -> Any:
    """Parse JSON.

    Args:
        text: The JSON; bytes are UTF-8.

    Returns:
        The decoded value.

    Raises:
        ValueError: The text is not JSON.
        RecursionError: It is nested too deeply.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        # orjson rejects NaN, Infinity and integers beyond 64 bits, which Python's parser accepts.
        # Models write all of them.
        return json.loads(text)
