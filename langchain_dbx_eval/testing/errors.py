"""Error responses of the local workspace: an HTTP status and Databricks' error JSON."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

__all__ = ["ApiError", "bad_request", "invalid_parameter", "unknown_field"]


class ApiError(Exception):
    """A request that is answered with an error status.

    Args:
        status: The HTTP status.
        error_code: Databricks' code. Errors of the gateway have a number here, those of the
            services behind it a string (seen in databricks-sdk-go issues 873 and 953).
        message: The text for the client.
        headers: Additional response headers.
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


def bad_request(message: str) -> ApiError:
    """Return the error for a malformed request."""
    return ApiError(400, "BAD_REQUEST", message)


def invalid_parameter(message: str) -> ApiError:
    """Return the error for a well-formed request with a value that is not allowed."""
    return ApiError(400, "INVALID_PARAMETER_VALUE", message)


def unknown_field(name: str) -> ApiError:
    """Return the error for an unknown field, worded as in databricks-sdk-py issue 1263."""
    return bad_request(f'Bad request: json: unknown field "{name}"')
