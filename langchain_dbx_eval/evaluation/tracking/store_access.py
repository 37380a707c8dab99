"""Access to an MLflow store: fails fast, retries transient errors, hides passwords.

MLflow's own client retries a request to a server that is down for more than four minutes, waits
for a server that is frozen 120 s for each of 8 attempts (MLFLOW_HTTP_REQUEST_TIMEOUT, which only
holds for the whole process), and raises the errors of SQLAlchemy and requests beside its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from typing import TypeVar
from urllib.parse import urlsplit, urlunsplit

import requests
from langchain_core.runnables.config import ContextThreadPoolExecutor

from langchain_dbx_eval._internal.daemon_threads import submit
from langchain_dbx_eval._internal.deadline import Deadline
from langchain_dbx_eval._internal.log import describe_error
from langchain_dbx_eval._internal.retry import RetryPolicy
from langchain_dbx_eval._redaction import contains_secret, remember_login
from langchain_dbx_eval.errors import TrackingError

__all__ = ["call_for_each", "is_transient", "probe", "redact_uri", "tracking_error", "with_retries"]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_MAX_REQUESTS = 8
_PROBE_TIMEOUT_S = 5
# Of one call of the store, such as 200 rows: a server that still answers a probe meanwhile is slow,
# one that does not is gone or frozen.
_PROBE_INTERVAL_S = 10.0
_CALL_TIMEOUT_S = 120.0
_CONCURRENT_WRITE = ("database is locked", "IntegrityError", "UniqueViolation")
_SECRET = re.compile("pass|pwd|token|secret|key", re.IGNORECASE)


def probe(tracking_uri: str) -> None:
    """Check that a tracking server answers, with any status; other stores are not checked.

    Raises:
        TrackingError: It does not answer within 5 seconds.
    """
    if urlsplit(tracking_uri).scheme not in ("http", "https"):
        return
    try:
        requests.head(tracking_uri, timeout=_PROBE_TIMEOUT_S)
    except requests.exceptions.SSLError:
        # A server answered. MLflow's settings decide whether its certificate is accepted.
        return
    except requests.exceptions.RequestException as error:
        raised = tracking_error(tracking_uri, error)
        raise raised from (None if contains_secret(error) else error)


def call_for_each(request: Callable[[_Item], _Result], items: Sequence[_Item]) -> list[_Result]:
    """Send a request to a store for each item, at most 8 at once; one error ends the others."""
    if len(items) <= 1:
        return [request(item) for item in items]
    with ContextThreadPoolExecutor(_MAX_REQUESTS) as pool:
        return list(pool.map(request, items))


def with_retries(tracking_uri: str, action: Callable[[], _Result]) -> _Result:
    """Call a function that uses a store; retry it after transient errors.

    The function runs in a daemon thread, which is left if the store does not answer: at once when a
    tracking server does not answer a probe either, else after two minutes.

    Args:
        tracking_uri: The store, for the error message.
        action: The function; it must be safe to repeat, also beside a call that was left.

    Raises:
        TrackingError: It failed with a permanent error, or five times, or did not return.
    """
    call = submit(lambda: _POLICY.run(action))
    deadline = Deadline(_CALL_TIMEOUT_S)
    while not call.done() and not deadline.passed:
        wait([call], min(_PROBE_INTERVAL_S, deadline.remaining))
        if not call.done():
            probe(tracking_uri)
    if not call.done():
        msg = f"no answer within {deadline.seconds:g} s"
        raise tracking_error(tracking_uri, TimeoutError(msg))
    try:
        return call.result()
    except Exception as error:
        raised = tracking_error(tracking_uri, error)
        raise raised from (None if contains_secret(error) else error)


def is_transient(error: BaseException) -> bool:
    """Return whether the same write may succeed later.

    True for a locked database and an overloaded server, and if another process wrote the same
    entity at the same time (MLflow 3.17 searches for a dataset, then inserts it).
    """
    from mlflow.exceptions import MlflowException, RestException

    if any(text in str(error) for text in _CONCURRENT_WRITE):
        return True
    if isinstance(error, RestException):
        status = int(error.get_http_status_code())  # type: ignore[no-untyped-call]
        # 501: the server does not support the call.
        return status >= 500 and status != 501
    return isinstance(error, MlflowException) and error.error_code == "TEMPORARILY_UNAVAILABLE"


_POLICY = RetryPolicy(4, is_retryable=is_transient, initial_wait=0.2, max_wait=5)


def tracking_error(tracking_uri: str, error: BaseException) -> TrackingError:
    """Return the error of a write, with the store and without the password in its URI."""
    redacted = redact_uri(tracking_uri)
    # A server may repeat the header that they are sent in.
    remember_login(tracking_uri)
    reason = describe_error(error).replace(tracking_uri, redacted)
    if password := urlsplit(tracking_uri).password:
        reason = reason.replace(password, "***")  # also a short one
    msg = f"MLflow at {redacted} could not be written to: {reason}"
    is_unavailable = isinstance(error, requests.exceptions.RequestException | TimeoutError)
    retryable = is_unavailable or is_transient(error)
    return TrackingError(msg, retryable=retryable)


def redact_uri(tracking_uri: str) -> str:
    """Return a tracking URI without user and password.

    A user name alone may be a token, and database URIs may have both in the query.
    """
    parts = urlsplit(tracking_uri)
    if "@" in parts.netloc:
        parts = parts._replace(netloc=f"***@{parts.netloc.rpartition('@')[2]}")
    if _SECRET.search(parts.query):
        parts = parts._replace(query="***")
    # `urlunsplit` removes slashes of "sqlite:///", so an unchanged URI is returned as it is.
    return tracking_uri if parts == urlsplit(tracking_uri) else urlunsplit(parts)
