"""Reading JSON, fast where it is ordinary and complete where it is not."""

from __future__ import annotations

import json
from typing import Any

import orjson

__all__ = ["loads"]


def loads(text: bytes | str) -> Any:
    """Decode JSON.

    Args:
        text: The JSON, in UTF-8.

    Raises:
        ValueError: It is none.
        RecursionError: It is nested too deeply.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        # orjson refuses what Python's own reads: NaN, Infinity, integers beyond 64 bits. Models
        # write all of them.
        return json.loads(text)
