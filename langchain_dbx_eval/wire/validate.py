"""Reading JSON of which nothing may be assumed: one error for whatever is not as it should be."""

from __future__ import annotations

import json
from typing import Any

from langchain_dbx_eval.errors import InvalidResponseError

__all__ = ["expect_dict", "expect_list", "expect_text", "is_failure", "wrong_shape"]

_EXCERPT_CHARS = 200


def wrong_shape(expected: str, payload: Any) -> InvalidResponseError:
    """The error for a payload that is not what it should be, ready to raise.

    Args:
        expected: What should have been there, such as ``"a list under 'choices'"``.
        payload: What was there; its first 200 characters are shown.
    """
    try:
        shown = json.dumps(payload, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):
        shown = repr(type(payload))
    if len(shown) > _EXCERPT_CHARS:
        shown = shown[:_EXCERPT_CHARS] + "…"
    msg = f"The answer does not have {expected}. It is: {shown}"
    return InvalidResponseError(msg)


def expect_dict(payload: Any, what: str = "an object at its top") -> dict[str, Any]:
    """Return the payload if it is an object, else refuse it."""
    if isinstance(payload, dict):
        return payload
    raise wrong_shape(what, payload)


def expect_list(payload: dict[str, Any], key: str) -> list[Any]:
    """Return the list under a key, else refuse the payload."""
    value = payload.get(key)
    if isinstance(value, list):
        return value
    raise wrong_shape(f"a list under {key!r}", payload)


def expect_text(payload: dict[str, Any], key: str) -> str:
    """Return the string under a key, else refuse the payload."""
    value = payload.get(key)
    if isinstance(value, str):
        return value
    raise wrong_shape(f"a string under {key!r}", payload)


def is_failure(payload: dict[str, Any]) -> bool:
    """Whether an answer tells an error: Databricks', OpenAI's or an external model's."""
    # A server may also write `"error": null` everywhere, which tells that there is none.
    return any(payload.get(name) for name in ("error", "error_code", "external_model_error"))
