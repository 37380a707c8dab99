"""JSON of requests and responses."""

from __future__ import annotations

import json
from typing import Any

from flask import Request

from langchain_dbx_eval.testing.errors import bad_request

__all__ = ["json_body", "json_object", "to_json"]


def json_body(request: Request) -> Any:
    """Return the decoded body of a request; None: it is empty or not JSON."""
    try:
        return json.loads(request.get_data())
    except (ValueError, RecursionError):
        return None


def json_object(request: Request) -> dict[str, Any]:
    """Return the body of a request.

    Raises:
        ApiError: It is not a JSON object.
    """
    body = json_body(request)
    if not isinstance(body, dict):
        raise bad_request("Bad request: the body must be a JSON object.")
    return body


def to_json(payload: Any) -> str:
    """Encode a payload as Databricks does: UTF-8, not escaped to ASCII."""
    return json.dumps(payload, ensure_ascii=False)
