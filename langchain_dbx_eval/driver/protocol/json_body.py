"""Strict decoding of a JSON request body."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from langchain_dbx_eval.driver.errors import malformed

__all__ = ["MAX_DEPTH", "decode"]

MAX_DEPTH = 64
"""Deeper than any supported request; tool schemas are the deepest part of one."""


def decode(body: bytes) -> dict[str, Any]:
    """Decode a request body, and reject JSON that two parsers may interpret differently.

    Args:
        body: A JSON object in UTF-8.

    Returns:
        The object, in which every float is finite and every string can be encoded in UTF-8.

    Raises:
        RequestError: 400, for anything else: not JSON, not an object, ``NaN``, a duplicate key, a
            lone surrogate, or nesting deeper than `MAX_DEPTH`.
    """
    try:
        payload: object = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_unique_keys,
            parse_constant=_reject_number,
            parse_float=_finite,
        )
        # "\ud800" is valid JSON but not text: tokenizers, files and logs fail on it later.
        json.dumps(payload, ensure_ascii=False).encode("utf-8")
        if not isinstance(payload, dict):
            raise malformed('The body must be a JSON object such as {"prompt": "Hello"}.')
        if _depth(payload) > MAX_DEPTH:
            raise RecursionError
    except RecursionError:
        raise malformed("The body is nested too deeply.") from None
    except json.JSONDecodeError as error:
        position = f"line {error.lineno}, column {error.colno}"
        raise malformed(f"The body is not valid JSON: see {position}.") from None
    except UnicodeEncodeError:
        raise malformed("A string in the body contains half of a surrogate pair.") from None
    except ValueError:  # not UTF-8, or an integer longer than Python converts (4,300 digits)
        raise malformed("The body is not JSON in UTF-8 with numbers of a usable size.") from None
    return payload


def _depth(value: dict[str, Any] | list[Any]) -> int:
    deepest = 0
    for item in value.values() if isinstance(value, dict) else value:
        if isinstance(item, (dict, list)):
            deepest = max(deepest, _depth(item))
    return deepest + 1


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise malformed("A key appears twice in one object of the body.")
    return values


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):  # 1e999
        _reject_number(text)
    return value


def _reject_number(text: str) -> NoReturn:
    raise malformed(f"The number {text[:80]} in the body is not finite.")
