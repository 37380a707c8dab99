"""The errors of this package, as one tree.

::

    DatabricksError
    ├── ConfigurationError            invalid or contradictory settings
    │   └── MissingDependencyError    an extra is not installed
    ├── AuthenticationError           401
    ├── PermissionDeniedError         403
    ├── NotFoundError                 404, or a dataset that does not exist
    ├── AlreadyExistsError            a dataset that exists already
    ├── InvalidRequestError           any other 4xx
    │   └── ContextOverflowError      the prompt is longer than the model's context
    ├── RateLimitError                429
    ├── ServerError                   5xx
    ├── RequestTimeoutError           no response within `timeout`
    ├── ConnectionFailedError         the host could not be reached, or closed the connection
    ├── InvalidResponseError          a response that is not JSON, or of an unexpected shape
    ├── StreamInterruptedError        a stream that stopped without a finish reason
    ├── TransformError                a `transform_input_fn` or `transform_output_fn` failed
    ├── WarehouseError                a SQL warehouse that did not start, or a failed statement
    ├── SchemaError                   a record that violates the evaluation schema
    ├── JournalError                  an evaluation's journal cannot be written, read or resumed
    ├── BudgetExceededError           an evaluation that reached max_tokens or max_cost
    ├── TrackingError                 MLflow cannot be written to
    └── DriverServerError             the driver server cannot start or stop

If LangChain has a class for the same condition (`langchain_core.exceptions.Model*Error`), this
one is derived from it too, so that `with_retry` and `with_fallbacks` classify it.
"""

from __future__ import annotations

from langchain_core.exceptions import ContextOverflowError as ModelContextOverflowError
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

from langchain_dbx_eval._redaction import redact

__all__ = [
    "AlreadyExistsError",
    "AuthenticationError",
    "BudgetExceededError",
    "ConfigurationError",
    "ConnectionFailedError",
    "ContextOverflowError",
    "DatabricksError",
    "DriverServerError",
    "InvalidRequestError",
    "InvalidResponseError",
    "JournalError",
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
    """The base class of all errors of this package.

    The tokens and keys that this process has sent are removed from its text, and so are the user
    names and passwords in URLs: a server may repeat a request's headers in its answer.

    Args:
        message: What happened, where, and what to do next.
        status_code: The HTTP status of the response, if there was one.
        error_code: Databricks' error code, such as ``RESOURCE_DOES_NOT_EXIST``.
        request_id: The ``x-request-id`` of the response, which Databricks' support needs.
        target: What was called, such as ``serving endpoint 'my-chat'``.
        retryable: Whether the same call may succeed later; default: that of the class.
        retry_after: Seconds to wait before the next call, from the `Retry-After` header.
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
        super().__init__(redact(message))
        self.status_code = status_code
        self.error_code = error_code and redact(error_code)
        self.request_id = request_id and redact(request_id)
        self.target = target
        self.retry_after = retry_after
        if retryable is not None:
            self.retryable = retryable
        # LangChain's classes and middleware read this under the name `is_retryable`.
        self.is_retryable = self.retryable

    def add_advice(self, advice: str) -> None:
        """Append advice to the message, where more is known than at the place that raised it."""
        self.args = (f"{self.args[0]} {redact(advice)}", *self.args[1:])


class ConfigurationError(DatabricksError):
    """The settings are invalid or contradict each other.

    Not a `ValueError`: pydantic would wrap that in a `ValidationError`, and the constructor of a
    component would raise another class than its first call.
    """


class MissingDependencyError(ConfigurationError, ImportError):
    """An optional dependency is not installed."""


class AuthenticationError(DatabricksError, ModelAuthenticationError):
    """The credentials were rejected (401), or none were found."""


class PermissionDeniedError(DatabricksError, ModelPermissionDeniedError):
    """The credentials are valid but lack a permission (403)."""


class NotFoundError(DatabricksError, ModelNotFoundError):
    """The resource does not exist, or is not visible (404)."""


class AlreadyExistsError(DatabricksError):
    """The resource to create exists already."""


class InvalidRequestError(DatabricksError, ModelInvalidRequestError):
    """The request was rejected (a 4xx without a class of its own)."""


class ContextOverflowError(InvalidRequestError, ModelContextOverflowError):
    """The prompt, or the prompt with the answer, exceeds the model's context."""


class RateLimitError(DatabricksError, ModelRateLimitError):
    """Too many requests (429)."""

    retryable = True


class ServerError(DatabricksError, ModelAPIError):
    """The server failed (5xx)."""

    retryable = True


class RequestTimeoutError(DatabricksError, ModelTimeoutError):
    """No response came within the timeout."""

    retryable = True


class ConnectionFailedError(DatabricksError, ModelConnectionError):
    """The host could not be reached, or closed the connection before it answered."""

    retryable = True


class InvalidResponseError(DatabricksError, ModelAPIError):
    """The response is not JSON, or of an unexpected shape."""


class StreamInterruptedError(DatabricksError, ModelConnectionError):
    """A stream stopped without a finish reason, by a lost connection or an error of the server.

    Attributes:
        partial_text: The text that had arrived.
    """

    retryable = True

    def __init__(self, message: str, *, partial_text: str = "", target: str | None = None) -> None:
        super().__init__(message, target=target)
        self.partial_text = redact(partial_text)


class TransformError(DatabricksError):
    """A `transform_input_fn` or `transform_output_fn` raised, or returned an invalid value."""


class WarehouseError(DatabricksError):
    """A SQL warehouse did not start, took too long, or failed a statement.

    Attributes:
        warehouse_id: The warehouse.
        state: Its last known state (such as ``STOPPED``), or the statement's (``FAILED``).
        health: The warehouse's own health message, if it has one.
        statement_id: The id of the statement in the query history, if one was sent.
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
    """A record violates the evaluation schema; the message names row, column and expected type."""


class JournalError(DatabricksError):
    """An evaluation's journal cannot be written or read, or does not match the arguments."""


class BudgetExceededError(DatabricksError):
    """The budget of an evaluation is used up before all rows are finished; it can be resumed.

    Attributes:
        evaluation_id: The evaluation, for ``resume=`` and `EvaluationResult.load`.
        finished: Number of rows that are finished.
        missing: Number of rows that are not.
    """

    def __init__(self, message: str, *, evaluation_id: str, finished: int, missing: int) -> None:
        super().__init__(message)
        self.evaluation_id = evaluation_id
        self.finished = finished
        self.missing = missing


class TrackingError(DatabricksError):
    """MLflow cannot be written to; the data is kept and can be written later."""

    retryable = True


class DriverServerError(DatabricksError):
    """The driver server cannot start or stop."""
