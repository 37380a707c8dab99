"""Calls of an MLflow store that fail fast, try again where it helps, and say what is wrong.

MLflow's own client repeats a request to a server that is down for over four minutes, and lets
through whatever the store raises: SQLAlchemy's errors, requests', its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import count
from typing import TypeVar
from urllib.parse import urlsplit, urlunsplit

import requests

from langchain_dbx_eval._internal.retry import RetryPolicy
from langchain_dbx_eval.errors import TrackingError

__all__ = ["is_passing", "probe", "shown", "tracking_error", "with_retries"]

_Answer = TypeVar("_Answer")
_PROBE_SECONDS = 5
_OTHERS_WRITE = ("database is locked", "IntegrityError", "UniqueViolation")
_SECRET = re.compile("pass|pwd|token|secret|key", re.IGNORECASE)


def probe(tracking_uri: str) -> None:
    """Find out within seconds whether a tracking server can be reached at all.

    Any answer will do, a refusal included. Stores without a server of their own are not asked.

    Raises:
        TrackingError: It cannot be reached, or takes more than 5 seconds to say anything.
    """
    if urlsplit(tracking_uri).scheme not in ("http", "https"):
        return
    try:
        requests.head(tracking_uri, timeout=_PROBE_SECONDS)
    except requests.exceptions.SSLError:
        # There is a server. Whether its certificate will do is for MLflow's settings to say.
        return
    except requests.exceptions.RequestException as error:
        raise tracking_error(tracking_uri, error) from error


def with_retries(tracking_uri: str, action: Callable[[bool], _Answer]) -> _Answer:
    """Do something in a store, and do it again where the failure is one that passes.

    Args:
        tracking_uri: The store, for the message.
        action: What to do; it is told whether this is a further attempt, and must bear repetition.

    Raises:
        TrackingError: It failed, for good or five times.
    """
    attempts = count(1)
    try:
        return _POLICY.run(lambda: action(next(attempts) > 1))
    except TrackingError:
        raise
    except Exception as error:
        raise tracking_error(tracking_uri, error) from error


def is_passing(error: BaseException) -> bool:
    """Whether a failure is one that passes: a locked database, a server that is overloaded.

    Also where another evaluation has just written the same (MLflow 3.17 looks for a dataset, then
    adds it): done again, it finds that.
    """
    from mlflow.exceptions import MlflowException, RestException

    if any(told in str(error) for told in _OTHERS_WRITE):
        return True
    if isinstance(error, RestException):
        status = int(error.get_http_status_code())  # type: ignore[no-untyped-call]
        # 501 is how a server refuses what it cannot do.
        return status >= 500 and status != 501
    return isinstance(error, MlflowException) and error.error_code == "TEMPORARILY_UNAVAILABLE"


_POLICY = RetryPolicy(4, is_retryable=is_passing, initial_wait=0.2, max_wait=5)


def tracking_error(tracking_uri: str, error: BaseException) -> TrackingError:
    """What went wrong, where, and without the password that a tracking URI may carry."""
    reason = str(error).replace(tracking_uri, shown(tracking_uri))
    if password := urlsplit(tracking_uri).password:
        reason = reason.replace(password, "***")
    msg = (
        f"MLflow at {shown(tracking_uri)} could not be written to: {type(error).__name__}: {reason}"
    )
    passing = isinstance(error, requests.exceptions.RequestException) or is_passing(error)
    return TrackingError(msg, retryable=passing)


def shown(tracking_uri: str) -> str:
    """A tracking URI as it may be shown: without user and password, wherever they stand.

    A user's name alone may be a token; databases take both in the query too.
    """
    parts = urlsplit(tracking_uri)
    if "@" in parts.netloc:
        parts = parts._replace(netloc=f"***@{parts.netloc.rpartition('@')[2]}")
    if _SECRET.search(parts.query):
        parts = parts._replace(query="***")
    # Not put together again where nothing is hidden: "sqlite:///" would lose slashes.
    return tracking_uri if parts == urlsplit(tracking_uri) else urlunsplit(parts)
