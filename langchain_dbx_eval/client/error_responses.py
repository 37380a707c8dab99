"""Typed errors from unsuccessful HTTP responses."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from typing import Any

from langchain_dbx_eval._internal.retry import RETRYABLE_STATUS, parse_retry_after
from langchain_dbx_eval._redaction import shorten
from langchain_dbx_eval.client.targets import Target
from langchain_dbx_eval.errors import (
    AuthenticationError,
    ContextOverflowError,
    DatabricksError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    RequestTimeoutError,
    ServerError,
)

__all__ = ["error_from_response", "excerpt"]

_EXCERPT_CHARS = 200
# How much of a body is searched for its reason: a page may be endless, or consist of "<" only.
_READ_CHARS = 100_000
_CLASS_OF_STATUS: dict[int, type[DatabricksError]] = {
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    408: RequestTimeoutError,
    429: RateLimitError,
}
# Databricks answers an unknown token with 403, as it does a missing permission
# (databricks/databricks-sdk-go#873).
_INVALID_TOKEN = "Invalid access token"  # noqa: S105 - a message, not a token
# OpenAI's code and message, which other models and gateways repeat.
_OVERFLOW = re.compile(
    r"context_length_exceeded|maximum context|context (length|window)|prompt is too long", re.I
)


def error_from_response(
    status: int, body: bytes, headers: Mapping[str, str], *, target: Target, host: str
) -> DatabricksError:
    """Return the typed error of an unsuccessful response.

    Args:
        status: The HTTP status, outside 200-299.
        body: The body: Databricks' JSON, an OpenAI-style error, HTML or text.
        headers: The response's headers, a case-insensitive mapping.
        target: What was called.
        host: Scheme and host that were called.

    Returns:
        The error, not raised; its message names target, host and reason, and gives advice.
    """
    code, reason = _read_error(body)
    if 300 <= status < 400:
        reason = "a redirect, which is not followed, so that no token goes to another host"
    error_class = _error_class(status, code, reason)
    message = f"{target.title} at {host} answered {status}"
    message += f" {code}" if code and code != str(status) else ""
    message += f": {reason.rstrip('.')}." if reason else "."
    if advice := target.advice(401 if error_class is AuthenticationError else status, code):
        message += f" {advice}"
    return error_class(
        message,
        status_code=status,
        error_code=code,
        request_id=headers.get("x-request-id"),
        target=str(target),
        retryable=status in RETRYABLE_STATUS,
        retry_after=parse_retry_after(headers.get("Retry-After")),
    )


def excerpt(body: bytes | str) -> str:
    """Return the first 200 characters of a body on one line, for error messages."""
    shown = body[:_READ_CHARS]
    text = shown.decode("utf-8", "replace") if isinstance(shown, bytes) else shown
    text = " ".join(text.split())
    return shorten(text, _EXCERPT_CHARS)


def _error_class(status: int, code: str | None, reason: str) -> type[DatabricksError]:
    if status == 403 and reason.startswith(_INVALID_TOKEN):
        return AuthenticationError
    if status in _CLASS_OF_STATUS:
        return _CLASS_OF_STATUS[status]
    if status >= 500:
        return ServerError
    return ContextOverflowError if _OVERFLOW.search(f"{code} {reason}") else InvalidRequestError


def _read_error(body: bytes) -> tuple[str | None, str]:
    """Return Databricks' error code, if any, and the reason as text."""
    text = body.decode("utf-8", "replace").strip()
    try:
        payload = json.loads(text)
    except (ValueError, RecursionError):
        return None, excerpt(_strip_html(text[:_READ_CHARS]))
    if not isinstance(payload, dict):
        return None, excerpt(text)
    # The error of an external model is nested, beside or instead of Databricks' own message.
    inner: Any = payload.get("external_model_error") or payload
    inner = inner.get("error", inner) if isinstance(inner, dict) else inner
    detail = inner if isinstance(inner, dict) else {"message": inner}
    code = payload.get("error_code") or detail.get("code")
    reason = payload.get("message") or detail.get("message") or payload.get("detail") or text
    return (excerpt(str(code)) if code else None), excerpt(str(reason))


def _strip_html(text: str) -> str:
    """Return the text of an HTML error page; other text unchanged.

    In linear time: a regular expression for tags is quadratic for a page of "<" only.
    """
    if not text.lstrip().startswith("<"):
        return text
    lower = text.lower()
    for tag in ("pre", "title", "body"):
        start = lower.find(f"<{tag}")
        end = lower.find(f"</{tag}>", start) if start >= 0 else -1
        if end >= 0:
            text = text[start:end]
            break
    # The text after each tag. What follows an unclosed "<" is text, too.
    first, *others = text.split("<")
    between = [part.partition(">")[2] if ">" in part else part for part in others]
    return html.unescape(" ".join([first, *between]))
