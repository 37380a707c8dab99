"""Every error that this package raises on purpose, as one tree.

::

    DatabricksError
    ├── ConfigurationError            what you asked for cannot be done as it is set up
    │   └── MissingDependencyError    an extra is not installed
    ├── AuthenticationError           401
    ├── PermissionDeniedError         403
    ├── NotFoundError                 404, or a dataset that does not exist
    ├── AlreadyExistsError            a dataset that exists already
    ├── InvalidRequestError           any other 4xx
    │   └── ContextOverflowError      the prompt is longer than the model's context
    ├── RateLimitError                429
    ├── ServerError                   5xx
    ├── RequestTimeoutError           no answer within `timeout`
    ├── ConnectionFailedError         the host could not be reached, or hung up
    ├── InvalidResponseError          an answer that is not JSON, or not of the expected shape
    ├── StreamInterruptedError        a stream that ended before its end
    ├── TransformError                a `transform_input_fn` or `transform_output_fn` failed
    ├── WarehouseError                a SQL warehouse that did not start, or refused a statement
    ├── SchemaError                   a record that breaks the evaluation schema
    ├── TrackingError                 MLflow cannot be written to; the result is in the error
    └── DriverServerError             the driver server cannot start or stop

Where LangChain has a class for the same condition (`langchain_core.exceptions.Model*Error`),
ours derives from it too, so that `with_retry` and `with_fallbacks` classify it.
"""

from __future__ import annotations

from langchain_core.exceptions import (
    ContextOverflowError as ModelContextOverflowError,
)
from langchain_core.exceptions import (
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelInvalidRequestError,
    ModelNotFoundError,
    ModelPermissionDeniedError,
    ModelRateLimitError,
    ModelTimeoutError,
)

__all__ = [
    "AlreadyExistsError",
    "AuthenticationError",
    "ConfigurationError",
    "ConnectionFailedError",
    "ContextOverflowError",
    "DatabricksError",
    "DriverServerError",
    "InvalidRequestError",
    "InvalidResponseError",
    "MissingDependencyError",
    "NotFoundError",
    "PermissionDeniedError",
    "RateLimitError",
    "RequestTimeoutError",
    "SchemaError",
    "ServerError",
    "StreamInterruptedError",
    "TrackingError",
    "TransformError",
    "WarehouseError",
]


class DatabricksError(Exception):
    """The root of everything that this package raises on purpose.

    Args:
        message: What happened, where, and what to do next.
        status_code: The HTTP status of the answer, where there was one.
        error_code: Databricks' own code (such as ``RESOURCE_DOES_NOT_EXIST``).
        request_id: The ``x-request-id`` of the answer, to quote to support.
        target: What was called, in words (such as ``serving endpoint 'my-chat'``).
        retryable: Whether the same call may succeed later. The default is the class's own.
        retry_after: Seconds that the answer asks to wait (its `Retry-After`), where it does.
    """

    retryable: bool = False

    def __init__(
        self,
        message: str,
        *,
        status_code: int | None = None,
        error_code: str | None = None,
        request_id: str | None = None,
        target: str | None = None,
        retryable: bool | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.error_code = error_code
        self.request_id = request_id
        self.target = target
        self.retry_after = retry_after
        if retryable is not None:
            self.retryable = retryable
        # LangChain's classes call the same fact `is_retryable`, and its middleware reads that.
        self.is_retryable = self.retryable

    def add_advice(self, advice: str) -> None:
        """Say more about what to do, where more is known than where the error was made."""
        self.args = (f"{self.args[0]} {advice}", *self.args[1:])


class ConfigurationError(DatabricksError):
    """What you asked for cannot be done as it is set up.

    Not a `ValueError`, on purpose: pydantic would wrap that in a `ValidationError`, and the
    constructor of a component would raise something else than its first call.
    """


class MissingDependencyError(ConfigurationError, ImportError):
    """A part of the package was used whose extra is not installed."""


class AuthenticationError(DatabricksError, ModelAuthenticationError):
    """The credentials were refused (401), or none could be found."""


class PermissionDeniedError(DatabricksError, ModelPermissionDeniedError):
    """The credentials are good, but not for this (403)."""


class NotFoundError(DatabricksError, ModelNotFoundError):
    """What was named does not exist, or may not be seen (404)."""


class AlreadyExistsError(DatabricksError):
    """What was to be created exists already."""


class InvalidRequestError(DatabricksError, ModelInvalidRequestError):
    """The request was refused as wrong (a 4xx without a class of its own)."""


class ContextOverflowError(InvalidRequestError, ModelContextOverflowError):
    """The prompt, or the prompt with its answer, is longer than the model's context."""


class RateLimitError(DatabricksError, ModelRateLimitError):
    """Too many requests (429)."""

    retryable = True


class ServerError(DatabricksError, ModelAPIError):
    """The other side failed (5xx)."""

    retryable = True


class RequestTimeoutError(DatabricksError, ModelTimeoutError):
    """No answer came within the time allowed."""

    retryable = True


class ConnectionFailedError(DatabricksError, ModelConnectionError):
    """The host could not be reached, or hung up before it answered."""

    retryable = True


class InvalidResponseError(DatabricksError, ModelAPIError):
    """The answer is not JSON, or not of the shape that this kind of target gives."""


class StreamInterruptedError(DatabricksError, ModelConnectionError):
    """A stream ended before its end.

    Attributes:
        partial_text: The text that had arrived by then.
    """

    retryable = True

    def __init__(self, message: str, *, partial_text: str = "", target: str | None = None) -> None:
        super().__init__(message, target=target)
        self.partial_text = partial_text


class TransformError(DatabricksError):
    """A `transform_input_fn` or `transform_output_fn` raised, or returned something unusable."""


class WarehouseError(DatabricksError):
    """A SQL warehouse did not start, took too long, or failed a statement.

    Attributes:
        warehouse_id: The warehouse.
        state: Its last known state (such as ``STOPPED``), or the statement's (``FAILED``).
        health: What the warehouse says of its own health, where it says something.
        statement_id: The statement, as the query history names it, where one was sent.
    """

    def __init__(
        self,
        message: str,
        *,
        warehouse_id: str,
        state: str | None = None,
        health: str | None = None,
        statement_id: str | None = None,
        error_code: str | None = None,
    ) -> None:
        super().__init__(message, error_code=error_code, target=f"SQL warehouse '{warehouse_id}'")
        self.warehouse_id = warehouse_id
        self.state = state
        self.health = health
        self.statement_id = statement_id


class SchemaError(DatabricksError, ValueError):
    """A record breaks the evaluation schema; the message names row, column and expectation."""


class TrackingError(DatabricksError):
    """MLflow cannot be written to.

    Attributes:
        result: The `EvaluationResult` that could not be logged, where there is one already: the
            work is done, and not lost.
    """

    def __init__(self, message: str, *, result: object = None) -> None:
        super().__init__(message, retryable=True)
        self.result = result


class DriverServerError(DatabricksError):
    """The driver server cannot start or stop."""
