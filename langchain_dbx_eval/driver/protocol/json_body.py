"""From the bytes of a request body to a JSON value, strictly."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from langchain_dbx_eval.driver.errors import malformed

__all__ = ["MAX_DEPTH", "decode"]

MAX_DEPTH = 64
"""Deeper than any request served here; tool schemas are the deepest."""


def decode(body: bytes) -> object:
    """Decode a request body, strictly: what two JSON readers could understand differently fails.

    Args:
        body: JSON in UTF-8.

    Returns:
        The value, in which every float is finite and every string can be encoded in UTF-8.

    Raises:
        RequestError: 400, for anything else: not JSON, ``NaN``, a key given twice, a lone
            surrogate, or more nesting than `MAX_DEPTH`.
    """
    try:
        payload: object = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_unique_keys,
            parse_constant=_refuse_number,
            parse_float=_finite,
        )
        # "\ud800" is legal JSON, but no text: tokenizers, files and logs fail on it later.
        json.dumps(payload, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise malformed("The body is nested too deeply.") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise malformed(f"The body is not valid JSON: see {place}.") from None
    except UnicodeEncodeError:
        raise malformed("A string in the body has half of a surrogate pair.") from None
    except ValueError:  # not UTF-8, or an integer longer than Python converts (4,300 digits)
        raise malformed("The body is not JSON in UTF-8 with numbers of a usable size.") from None
    if _depth(payload) > MAX_DEPTH:
        raise malformed("The body is nested too deeply.")
    return payload


def _depth(payload: object) -> int:
    depth, level = 0, [payload]
    while level := [value for value in level if isinstance(value, list | dict)]:
        depth += 1
        level = [
            inner
            for value in level
            for inner in (value.values() if isinstance(value, dict) else value)
        ]
    return depth


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise malformed("A key appears twice in one object of the body.")
    return values


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):  # 1e999
        _refuse_number(text)
    return value


def _refuse_number(text: str) -> NoReturn:
    raise malformed(f"The number {text[:80]} in the body is not finite.")
