"""An HTTP answer that is not a success, as one of our typed errors."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from typing import Any

from langchain_dbx_eval._internal.retry import RETRYABLE_STATUS, parse_retry_after
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

__all__ = ["EXCERPT_CHARS", "error_of_answer", "excerpt"]

EXCERPT_CHARS = 200

_CLASS_OF_STATUS: dict[int, type[DatabricksError]] = {
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    408: RequestTimeoutError,
    429: RateLimitError,
    504: ServerError,
}
# Databricks answers a token that it does not know with 403, as it does a missing permission
# (databricks/databricks-sdk-go#873).
_WORDS_OF_A_REFUSED_LOGIN = "Invalid access token"
# OpenAI's code and words for it, which other models and gateways repeat.
_OVERFLOW = re.compile(
    r"context_length_exceeded|maximum context|context (length|window)|prompt is too long", re.I
)


def error_of_answer(
    status: int, body: bytes, headers: Mapping[str, str], *, target: Target, host: str
) -> DatabricksError:
    """Make the error that an unsuccessful answer stands for.

    Args:
        status: The HTTP status, outside 200-299.
        body: The body as it came: Databricks' JSON, an OpenAI-style error, HTML or text.
        headers: The answer's headers, looked up without regard to case by their mapping.
        target: What was called.
        host: Where it was called.

    Returns:
        The error, ready to raise: its message says what happened, where, and what to do.
    """
    code, reason = _read_error(body)
    if 300 <= status < 400:
        reason = "a redirect, which is not followed, so that no token goes to another host"
    told = f"{status} {code}" if code and code != str(status) else str(status)
    kind = _class_of(status)
    if kind is PermissionDeniedError and reason.startswith(_WORDS_OF_A_REFUSED_LOGIN):
        kind = AuthenticationError
    if kind is InvalidRequestError and _OVERFLOW.search(f"{code} {reason}"):
        kind = ContextOverflowError
    message = f"{str(target)[0].upper()}{str(target)[1:]} at {host} answered {told}"
    message += f": {reason.rstrip('.')}." if reason else "."
    if advice := target.advice(401 if kind is AuthenticationError else status):
        message += f" {advice}"
    return kind(
        message,
        status_code=status,
        error_code=code,
        request_id=headers.get("x-request-id"),
        target=str(target),
        retryable=status in RETRYABLE_STATUS,
        retry_after=parse_retry_after(headers.get("Retry-After")),
    )


def excerpt(body: bytes | str) -> str:
    """The first 200 characters of a body, on one line, to show in a message."""
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    text = " ".join(text.split())
    return text if len(text) <= EXCERPT_CHARS else text[:EXCERPT_CHARS] + "…"


def _class_of(status: int) -> type[DatabricksError]:
    if status in _CLASS_OF_STATUS:
        return _CLASS_OF_STATUS[status]
    return ServerError if status >= 500 else InvalidRequestError


def _read_error(body: bytes) -> tuple[str | None, str]:
    """Databricks' error code, where there is one, and the reason in words."""
    text = body.decode("utf-8", "replace").strip()
    try:
        payload = json.loads(text)
    except ValueError:
        return None, excerpt(_text_of_html(text))
    if not isinstance(payload, dict):
        return None, excerpt(text)
    # An external model's own error lies one level down, beside or instead of Databricks' words.
    inner: Any = payload.get("external_model_error") or payload
    inner = inner.get("error", inner) if isinstance(inner, dict) else inner
    detail = inner if isinstance(inner, dict) else {"message": inner}
    code = payload.get("error_code") or detail.get("code")
    reason = payload.get("message") or detail.get("message") or payload.get("detail") or text
    return (str(code) if code else None), excerpt(str(reason))


def _text_of_html(text: str) -> str:
    """The words of an HTML error page; any other text as it is."""
    if not text.lstrip().startswith("<"):
        return text
    for tag in ("pre", "title", "body"):
        if match := re.search(rf"<{tag}[^>]*>(.*?)</{tag}>", text, re.IGNORECASE | re.DOTALL):
            return html.unescape(re.sub(r"<[^>]+>", " ", match.group(1)))
    return html.unescape(re.sub(r"<[^>]+>", " ", text))
