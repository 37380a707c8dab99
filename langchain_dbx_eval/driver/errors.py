"""The one way to refuse a request: an exception whose message is written for the client."""

from __future__ import annotations

__all__ = ["RequestError", "invalid", "malformed"]


class RequestError(Exception):
    """A request is refused. It becomes the answer, so its message is written for the client.

    An engine raises it too, for what only the engine can know, such as a prompt that is longer
    than the model's context.

    Args:
        status: The HTTP status.
        error_code: What went wrong, in one of Databricks' words such as ``MALFORMED_REQUEST``.
        message: What to change. Never text of another exception.
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
    """Make the refusal of a body that is no JSON, or no JSON of a shape that is served here."""
    return RequestError(400, "MALFORMED_REQUEST", message)


def invalid(message: str) -> RequestError:
    """Make the refusal of a value; the message names its field."""
    return RequestError(400, "INVALID_PARAMETER_VALUE", message)
