"""The error that rejects a request; its message is written for the client."""

from __future__ import annotations

from typing import Any

from langchain_dbx_eval._internal.log import get_logger

__all__ = ["RequestError", "error_body", "invalid", "malformed", "to_request_error"]

_log = get_logger(__name__)


class RequestError(Exception):
    """A request is rejected. The server returns the status and the message to the client.

    An engine raises it too, for what only the engine can check, such as a prompt that is longer
    than the model's context.

    Args:
        status: The HTTP status.
        error_code: The kind of error, one of Databricks' codes such as ``MALFORMED_REQUEST``.
        message: What is wrong and what to change. Never the text of another exception.
        retry_after: Seconds after which the same request may succeed (sent as ``Retry-After``).
    """

    def __init__(
        self, status: int, error_code: str, message: str, *, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error_code = error_code
        self.message = message
        self.retry_after = retry_after


def malformed(message: str) -> RequestError:
    """Return the 400 for a body that is not JSON or has none of the supported shapes."""
    return RequestError(400, "MALFORMED_REQUEST", message)


def invalid(message: str) -> RequestError:
    """Return the 400 for an unsupported field or value; the message names the field."""
    return RequestError(400, "INVALID_PARAMETER_VALUE", message)


def error_body(error: RequestError) -> dict[str, Any]:
    """Return the body of an error response.

    Args:
        error: The error.

    Returns:
        Databricks' keys ``error_code`` and ``message``, and under ``error`` OpenAI's, from which
        the SDKs of OpenAI's API take the message. OpenAI's codes are in lower case.
    """
    kind = "invalid_request_error"
    if error.status == 429:
        kind = "rate_limit_error"
    elif error.status >= 500:
        kind = "server_error"
    code, message = error.error_code, error.message
    openai = {"message": message, "type": kind, "param": None, "code": code.lower()}
    return {"error_code": code, "message": message, "error": openai}


def to_request_error(exception: Exception, request_id: str) -> RequestError:
    """Return the error to send for an exception; any but a `RequestError` is logged."""
    if isinstance(exception, RequestError):
        return exception
    # The text of an exception may contain paths, prompts or secrets: it is not sent.
    _log.error("Request %s failed", request_id, exc_info=exception)
    message = f"The model failed. The server's log has the details under request {request_id}."
    return RequestError(500, "INTERNAL_ERROR", message)
