"""The errors of upstream servers, worded for the client."""

from __future__ import annotations

import json
import re
from typing import Any

from langchain_dbx_eval._redaction import shorten
from langchain_dbx_eval.driver.errors import RequestError

__all__ = ["BUSY", "busy", "failed", "json_object", "rejected"]

BUSY = {429: "REQUEST_LIMIT_EXCEEDED", 503: "TEMPORARILY_UNAVAILABLE"}
"""Statuses after which the same request may succeed later: llama.cpp returns 503 while it loads a
model."""


def failed(what: str) -> RequestError:
    """Return the 502 for a server that failed; `what` completes ``The upstream server …``."""
    return RequestError(502, "UPSTREAM_FAILED", f"The upstream server {what}.")


def busy(status: int, retry_after: str) -> RequestError:
    """Return the error for a server that is busy or not ready.

    Args:
        status: One of `BUSY`.
        retry_after: The value of its header ``Retry-After``; only seconds are passed on.
    """
    message = f"The upstream server is busy or not ready ({status}): retry the request."
    seconds = int(retry_after) if re.fullmatch("[0-9]{1,4}", retry_after) else 1
    return RequestError(status, BUSY[status], message, retry_after=seconds)


def rejected(status: int, body: bytes) -> RequestError:
    """Return the error for a request that the server rejected, with its reason.

    Args:
        status: The status, which is passed on.
        body: The first bytes of the body.
    """
    try:
        payload = json.loads(body)
        error = payload.get("error", payload)
        text = error.get("message") if isinstance(error, dict) else error
    except (AttributeError, RecursionError, ValueError):
        text = None
    reason = f": {shorten(text, 500)}" if isinstance(text, str) else ", without a reason"
    message = f"The upstream server rejected the request ({status}){reason}."
    return RequestError(status, "UPSTREAM_REFUSED", message)


def json_object(data: str | bytes) -> dict[str, Any]:
    """Parse a JSON object.

    Raises:
        RequestError: 502; it is none.
    """
    try:
        value = json.loads(data)
    except (RecursionError, ValueError):
        raise failed("returned invalid JSON") from None
    if not isinstance(value, dict):
        raise failed("returned JSON that is not an object")
    return value
