"""Checks of decoded JSON. They raise `InvalidResponseError`, which shows what was received."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from langchain_dbx_eval._internal import json_text
from langchain_dbx_eval._redaction import shorten
from langchain_dbx_eval.errors import InvalidResponseError

__all__ = [
    "error_text",
    "expect_dict",
    "expect_list",
    "expect_text",
    "has_error",
    "parse_event",
    "wrong_shape",
]

_EXCERPT_CHARS = 200
_REASON_CHARS = 500
_ENCODED_CHARS = 20_000


def wrong_shape(expected: str, payload: Any) -> InvalidResponseError:
    """Return the error for a payload of an unexpected shape, not raised.

    Args:
        expected: The expected shape, such as ``"a list under 'choices'"``.
        payload: What was received; its first 200 characters are shown.
    """
    msg = f"Expected {expected}, got: {_excerpt(payload)}"
    return InvalidResponseError(msg)


def expect_dict(payload: Any, expected: str = "an object at its top level") -> dict[str, Any]:
    """Return the payload.

    Args:
        payload: Any JSON.
        expected: What to say is missing.

    Raises:
        InvalidResponseError: The payload is not an object.
    """
    if isinstance(payload, dict):
        return payload
    raise wrong_shape(expected, payload)


def expect_list(payload: Mapping[str, Any], key: str) -> list[Any]:
    """Return the list under a key.

    Raises:
        InvalidResponseError: There is no list under the key.
    """
    value = payload.get(key)
    if isinstance(value, list):
        return value
    raise wrong_shape(f"a list under {key!r}", payload)


def expect_text(payload: dict[str, Any], key: str) -> str:
    """Return the string under a key.

    Raises:
        InvalidResponseError: There is no string under the key.
    """
    value = payload.get(key)
    if isinstance(value, str):
        return value
    raise wrong_shape(f"a string under {key!r}", payload)


def parse_event(data: str) -> dict[str, Any]:
    """Parse the JSON object of one event of a stream.

    Raises:
        InvalidResponseError: The data is not a JSON object.
    """
    try:
        return expect_dict(json_text.loads(data))
    except (ValueError, RecursionError):
        raise wrong_shape("JSON in its events", data) from None


def has_error(payload: Mapping[str, Any]) -> bool:
    """Whether a payload contains an error of Databricks, OpenAI or an external model."""
    # Some servers write `"error": null` into each payload.
    return any(payload.get(name) for name in ("error", "error_code", "external_model_error"))


def error_text(error: Any) -> str:
    """Return the text of an error: a string, ``{"code", "message"}``, or any other JSON."""
    while isinstance(error, Mapping) and isinstance(error.get("error"), Mapping | str):
        error = error["error"]
    if isinstance(error, Mapping):
        code, message = error.get("code") or error.get("error_code"), error.get("message")
        if message:
            return shorten(f"{code}: {message}" if code else str(message), _REASON_CHARS)
    if isinstance(error, str) and error:
        return shorten(error, _REASON_CHARS)
    return f"no reason given ({_excerpt(error)})"


def _excerpt(payload: Any) -> str:
    """Return the first 200 characters of a payload as JSON, without encoding all of it."""
    if isinstance(payload, str):
        payload = payload[:_ENCODED_CHARS]
    shown = ""
    try:
        for part in json.JSONEncoder(ensure_ascii=False, default=str).iterencode(payload):
            shown += part
            if len(shown) > _ENCODED_CHARS:
                break
    except (TypeError, ValueError, RecursionError):
        return repr(type(payload))
    return shorten(shown, _EXCERPT_CHARS)
