"""Calls of databricks-agents: within a deadline, and with our errors.

It has neither timeouts nor errors of its own (1.13): an existing table is a raw HTTPError of
requests, and a batch that was refused is a line in the log.
"""

from __future__ import annotations

import contextvars
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from typing import Any

import requests

from langchain_dbx_eval._internal.extras import require
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

_REGISTRY = "MLFLOW_REGISTRY_URI"
_EXISTS = frozenset({"TABLE_ALREADY_EXISTS", "RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS"})
_BY_STATUS: dict[int, type[DatabricksError]] = {
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    429: RateLimitError,
}


def agents_package() -> Any:
    """`databricks.agents.datasets`.

    Raises:
        MissingDependencyError: databricks-agents is not installed.
    """
    try:
        require("mlflow", extra="databricks")
        return require("databricks.agents.datasets", extra="databricks")
    except MissingDependencyError as error:
        msg = (
            "Managed datasets are written by databricks-agents, which is not installed. Run: "
            "pip install 'langchain-dbx-eval[databricks]', or use a table: backend='warehouse'."
        )
        raise MissingDependencyError(msg) from error


def call_agents(
    action: Callable[[], Any], *, where: str, host: str, timeout: float
) -> DatabricksError | None:
    """Do something that databricks-agents does.

    Args:
        action: What to do.
        where: What it is done to, in words.
        host: The workspace that is meant. The package takes its login from the environment, so
            another one cannot be.
        timeout: Seconds.

    Returns:
        What it only logged as an error, as an error, or None.

    Raises:
        ConfigurationError: The environment's login is for another workspace.
        RequestTimeoutError: It did not answer in time.
        DatabricksError: It was refused.
    """
    outcome: Future[None] = Future()
    ears = _Ears(where)

    def act() -> None:
        ears.thread = threading.get_ident()
        try:
            # Here, because the SDK asks a host that does not answer for five minutes (0.156).
            _check_host(host)
            with _registry_as_it_was():
                action()
            outcome.set_result(None)
        except BaseException as error:
            outcome.set_exception(error)

    logger = logging.getLogger("databricks.rag_eval")
    logger.addHandler(ears)
    try:
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(act,), daemon=True).start()
        with _agents_errors(where):
            outcome.result(timeout)
    except FutureTimeoutError as error:
        msg = (
            f"Databricks did not answer for {where} within {timeout:g} s. What was sent may "
            "still be done: look before you create again; to merge again is safe."
        )
        raise RequestTimeoutError(msg) from error
    finally:
        logger.removeHandler(ears)
    return ears.heard


class _Ears(logging.Handler):
    """Hears, in one thread, what is only logged."""

    def __init__(self, where: str) -> None:
        super().__init__(logging.ERROR)
        self._where = where
        self.thread: int | None = None
        self.heard: DatabricksError | None = None

    def emit(self, record: logging.LogRecord) -> None:
        found = re.search(r"\b([45]\d\d) (?:Client|Server) Error", record.getMessage())
        if record.thread == self.thread and found:
            kind = _kind(int(found.group(1)))
            self.heard = kind(f"Databricks answered {found.group(1)} for {self._where}.")


@contextmanager
def _agents_errors(where: str) -> Iterator[None]:
    from databricks.sdk.errors.base import DatabricksError as SdkError
    from mlflow.exceptions import MlflowException

    try:
        yield
    except requests.HTTPError as error:
        raise _refused(error, where) from error
    except (SdkError, requests.RequestException):
        with sdk_errors(where):
            raise
    except MlflowException as error:
        raise InvalidRequestError(f"{where}: {error}", error_code=error.error_code) from error
    except ValueError as error:
        words = str(error).splitlines()[0]
        if "experiment" in words:
            msg = f"{where} needs an experiment: mlflow.set_experiment('/Users/…'). ({words})"
            raise ConfigurationError(msg) from error
        raise SchemaError(f"{where} refused a record: {words}") from error


@contextmanager
def _registry_as_it_was() -> Iterator[None]:
    """Undo that databricks-agents 1.13 sets MLflow's model registry, for the whole process."""
    import mlflow
    from mlflow.tracking._model_registry import utils

    # What was set, not `get_registry_uri()`, which follows from the tracking URI where none was.
    chosen, variable = getattr(utils, "_registry_uri", None), os.environ.get(_REGISTRY)
    try:
        yield
    finally:
        set_registry: Any = mlflow.set_registry_uri
        set_registry(chosen)
        if variable is None:
            os.environ.pop(_REGISTRY, None)
        else:
            os.environ[_REGISTRY] = variable


def _refused(error: requests.HTTPError, where: str) -> DatabricksError:
    response = error.response
    try:
        body = response.json()
    except ValueError:
        body = {}
    body = body if isinstance(body, dict) else {}
    code = str(body.get("error_code") or "") or None
    said = str(body.get("message") or response.text[:200]).rstrip(".") + "."
    if code in _EXISTS:
        kind: type[DatabricksError] = AlreadyExistsError
        advice = " Open it with EvalDataset.load, or take get_or_create."
    else:
        kind, advice = _kind(response.status_code), ""
    return kind(
        f"Databricks refused {where} with {response.status_code}: {said}{advice}",
        status_code=response.status_code,
        error_code=code,
        request_id=response.headers.get("x-request-id"),
    )


def _kind(status: int) -> type[DatabricksError]:
    return _BY_STATUS.get(status, ServerError if status >= 500 else InvalidRequestError)


def _check_host(host: str) -> None:
    import mlflow
    from databricks.sdk.core import Config
    from mlflow.utils.uri import get_db_info_from_uri

    profile, _ = get_db_info_from_uri(mlflow.get_tracking_uri())  # type: ignore[no-untyped-call]
    try:
        found = Config(profile=profile).host
    except ValueError:
        found = None
    if found != host:
        msg = (
            f"databricks-agents takes its login from the environment, which is "
            f"{found or 'none'}, not {host}. Set DATABRICKS_HOST and DATABRICKS_TOKEN to it, or "
            "the tracking URI to databricks://<profile>; or take backend='warehouse'."
        )
        raise ConfigurationError(msg)
