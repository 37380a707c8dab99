"""Calls of the package databricks-agents, with a timeout and typed errors.

The package has neither (1.13): for an existing table it raises an HTTPError of requests, and a
rejected batch is only logged.
"""

from __future__ import annotations

import contextvars
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import requests

from langchain_dbx_eval._internal.daemon_threads import result_of
from langchain_dbx_eval._internal.deadline import TIMEOUT_ERRORS
from langchain_dbx_eval._internal.imports import require
from langchain_dbx_eval.datasets.databricks.unity_catalog import sdk_errors
from langchain_dbx_eval.errors import (
    AlreadyExistsError,
    AuthenticationError,
    ConfigurationError,
    DatabricksError,
    InvalidRequestError,
    MissingDependencyError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    RequestTimeoutError,
    SchemaError,
    ServerError,
)

__all__ = ["agents_package", "call_agents"]

_REGISTRY_VARIABLE = "MLFLOW_REGISTRY_URI"
_ALREADY_EXISTS_CODES = frozenset(
    {"TABLE_ALREADY_EXISTS", "RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS"}
)
_ERROR_BY_STATUS: dict[int, type[DatabricksError]] = {
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    429: RateLimitError,
}


def agents_package() -> Any:
    """Return the module `databricks.agents.datasets`.

    Raises:
        MissingDependencyError: databricks-agents is not installed.
    """
    try:
        require("mlflow", extra="databricks")
        return require("databricks.agents.datasets", extra="databricks")
    except MissingDependencyError as error:
        msg = (
            "Writing to managed datasets requires databricks-agents, which is not installed. Run: "
            "pip install 'langchain-dbx-eval[databricks]', or use a table: backend='warehouse'."
        )
        raise MissingDependencyError(msg) from error


def call_agents(
    action: Callable[[], object], *, target: str, host: str, timeout: float
) -> DatabricksError | None:
    """Call a function that uses databricks-agents.

    Args:
        action: The function.
        target: What it accesses, as a phrase for messages.
        host: The expected workspace; the package reads its login from the environment.
        timeout: Timeout in seconds.

    Returns:
        The HTTP error that the package logged instead of raising it; None if it logged none.

    Raises:
        ConfigurationError: The login in the environment is for another workspace.
        RequestTimeoutError: The call did not return in time.
        DatabricksError: The request was rejected.
    """
    outcome: Future[None] = Future()
    handler = _ErrorLogHandler(target)

    def run() -> None:
        handler.thread_id = threading.get_ident()
        try:
            # In this thread: the SDK waits five minutes for an unresponsive host (0.156).
            _check_host(host)
            with _restored_registry_uri():
                action()
            outcome.set_result(None)
        except BaseException as error:
            outcome.set_exception(error)

    logger = logging.getLogger("databricks.rag_eval")
    logger.addHandler(handler)
    try:
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(run,), daemon=True).start()
        with _agents_errors(target):
            result_of(outcome, timeout)
    except TIMEOUT_ERRORS as error:
        msg = (
            f"Databricks did not answer the request for {target} within {timeout:g} s. The request "
            "may still be executed: before you create again, check whether it exists. Merging "
            "again is safe."
        )
        raise RequestTimeoutError(msg) from error
    finally:
        logger.removeHandler(handler)
    return handler.error


class _ErrorLogHandler(logging.Handler):
    """Captures the last HTTP error that one thread logged."""

    def __init__(self, target: str) -> None:
        super().__init__(logging.ERROR)
        self._target = target
        self.thread_id: int | None = None
        self.error: DatabricksError | None = None

    def emit(self, record: logging.LogRecord) -> None:
        match = re.search(r"\b([45]\d\d) (?:Client|Server) Error", record.getMessage())
        if record.thread == self.thread_id and match:
            cls = _error_class(int(match.group(1)))
            self.error = cls(f"Databricks answered {match.group(1)} for {self._target}.")


@contextmanager
def _agents_errors(target: str) -> Iterator[None]:
    from databricks.sdk.errors.base import DatabricksError as SdkError
    from mlflow.exceptions import MlflowException

    try:
        yield
    except requests.HTTPError as error:
        raise _convert_http_error(error, target) from error
    except (SdkError, requests.RequestException):
        with sdk_errors(target):
            raise
    except MlflowException as error:
        raise InvalidRequestError(f"{target}: {error}", error_code=error.error_code) from error
    except ValueError as error:
        reason = str(error).splitlines()[0]
        if "experiment" in reason:
            msg = f"{target} requires an experiment: mlflow.set_experiment('/Users/…'). ({reason})"
            raise ConfigurationError(msg) from error
        raise SchemaError(f"{target} rejected a record: {reason}") from error


@contextmanager
def _restored_registry_uri() -> Iterator[None]:
    """Restore MLflow's model registry, which databricks-agents 1.13 sets for the whole process."""
    import mlflow
    from mlflow.tracking._model_registry import utils

    # Not `get_registry_uri()`, which is derived from the tracking URI if none is set.
    uri, variable = getattr(utils, "_registry_uri", None), os.environ.get(_REGISTRY_VARIABLE)
    try:
        yield
    finally:
        set_registry: Any = mlflow.set_registry_uri
        set_registry(uri)
        if variable is None:
            os.environ.pop(_REGISTRY_VARIABLE, None)
        else:
            os.environ[_REGISTRY_VARIABLE] = variable


def _convert_http_error(error: requests.HTTPError, target: str) -> DatabricksError:
    response = error.response
    try:
        body = response.json()
    except ValueError:
        body = {}
    body = body if isinstance(body, dict) else {}
    code = str(body.get("error_code") or "") or None
    reason = str(body.get("message") or response.text[:200]).rstrip(".") + "."
    is_duplicate = code in _ALREADY_EXISTS_CODES
    cls = AlreadyExistsError if is_duplicate else _error_class(response.status_code)
    return cls(
        f"Databricks answered {response.status_code} for {target}: {reason}",
        status_code=response.status_code,
        error_code=code,
        request_id=response.headers.get("x-request-id"),
    )


def _error_class(status: int) -> type[DatabricksError]:
    return _ERROR_BY_STATUS.get(status, ServerError if status >= 500 else InvalidRequestError)


def _check_host(expected: str) -> None:
    import mlflow
    from databricks.sdk.core import Config
    from mlflow.utils.uri import get_db_info_from_uri

    profile, _ = get_db_info_from_uri(mlflow.get_tracking_uri())  # type: ignore[no-untyped-call]
    try:
        host = Config(profile=profile).host
    except ValueError:
        host = None
    if host != expected:
        msg = (
            "databricks-agents reads its login from the environment, where the workspace is "
            f"{host or 'not set'}, but {expected} is expected. Set DATABRICKS_HOST and "
            "DATABRICKS_TOKEN for it, or the tracking URI to databricks://<profile>; or use "
            "backend='warehouse'."
        )
        raise ConfigurationError(msg)
