"""What the workspace says no with: an HTTP status and Databricks' error JSON."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

__all__ = ["Refusal", "bad_request", "invalid_parameter", "unknown_field"]


class Refusal(Exception):  # noqa: N818 - an answer of the server, not a failure of this code
    """A request that is answered with an error.

    Args:
        status: The HTTP status.
        error_code: Databricks' code. The gateway's own refusals carry a number here, everything
            behind it a string (seen in databricks-sdk-go issues 873 and 953).
        message: The text for the caller.
        headers: Further headers of the answer.
    """

    def __init__(
        self,
        status: int,
        error_code: str | int,
        message: str,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers
        self.payload: dict[str, Any] = {"error_code": error_code, "message": message}


def bad_request(message: str) -> Refusal:
    """A request whose form is wrong."""
    return Refusal(400, "BAD_REQUEST", message)


def invalid_parameter(message: str) -> Refusal:
    """A request of the right form with a value that is not allowed."""
    return Refusal(400, "INVALID_PARAMETER_VALUE", message)


def unknown_field(name: str) -> Refusal:
    """A field that the endpoint does not know, in the words of databricks-sdk-py issue 1263."""
    return bad_request(f'Bad request: json: unknown field "{name}"')
