"""The one retry policy: which failures are retried, how often, and how long to wait.

Clients, datasets, judges and MLflow tracking all retry by `RetryPolicy`. They differ only in its
fields.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar

from langchain_dbx_eval._internal.deadline import TIMEOUT_ERRORS
from langchain_dbx_eval._internal.log import get_logger
from langchain_dbx_eval.errors import DatabricksError

if TYPE_CHECKING:
    import tenacity

__all__ = [
    "RETRYABLE_STATUS",
    "RetryPolicy",
    "is_transient",
    "parse_retry_after",
    "rate_limit_error",
    "retry_after",
    "retry_listener",
    "status_of",
]

_Result = TypeVar("_Result")
_logger = get_logger(__name__)

RETRYABLE_STATUS = frozenset({408, 429, 502, 503, 504})
"""HTTP statuses that may succeed later. 500 is not one: a model may fail on this very input."""

_TOO_MANY_REQUESTS = 429
_UNAVAILABLE = 503
_MAX_DATE_CHARS = 100

retry_listener: ContextVar[Callable[[BaseException], object] | None] = ContextVar(
    "retry_listener", default=None
)
"""Called before each retry with the error. A scheduler of many concurrent calls uses it to slow all
of them down. Threads see it only if they were started with a copy of the context."""


def is_transient(error: BaseException) -> bool:
    """Whether the same call may succeed later, judged by the error alone.

    A `DatabricksError` says so itself; of other libraries' errors, those of the connection and
    those with a status of `RETRYABLE_STATUS` are transient.
    """
    if isinstance(error, DatabricksError):
        return error.retryable
    if isinstance(error, (*TIMEOUT_ERRORS, ConnectionError)):
        return True
    if getattr(error, "is_retryable", False):
        return True
    return status_of(error) in RETRYABLE_STATUS


def status_of(error: BaseException) -> Any:
    """Return the HTTP status that an error of any client carries; None if it has none."""
    # This package's errors, OpenAI's and LangChain's have the status; requests' and httpx's have a
    # response.
    response = getattr(error, "response", None)
    return getattr(error, "status_code", None) or getattr(response, "status_code", None)


@dataclass(frozen=True)
class RetryPolicy:
    """Retry a call with exponential backoff.

    The wait is random within a window that doubles with each retry ("full jitter": AWS
    Architecture Blog, "Exponential Backoff And Jitter"), unless the failure names a wait
    (``Retry-After``), which is obeyed.

    Attributes:
        max_retries: Attempts after the first one.
        timeout: Seconds for all attempts and waits together; None: no timeout. A wait that would
            exceed it is not started: the last error is raised instead.
        is_retryable: Whether an error may be retried; default: `is_transient`.
        initial_wait: Seconds, the size of the first window.
        max_wait: Seconds, the largest window.
        waits_for_start: Whether a 503 is retried until `timeout`, beyond `max_retries`: an endpoint
            that scales from zero takes minutes.
    """

    max_retries: int
    timeout: float | None = None
    is_retryable: Callable[[BaseException], bool] = is_transient
    initial_wait: float = 0.5
    max_wait: float = 30.0
    waits_for_start: bool = False

    def run(self, attempt: Callable[[], _Result]) -> _Result:
        """Call `attempt` until it succeeds, fails for good, or the policy is exhausted.

        The first attempt runs outside tenacity: most calls need no other one, and setting up
        tenacity takes as long as the rest of this package's work on a call.

        Raises:
            Exception: The last error of `attempt`.
        """
        started = time.monotonic()
        try:
            return attempt()
        except Exception as error:
            if not self.is_retryable(error):
                raise
            repeat = _raise_first(error, attempt)
        # Imported by the first call that fails: most processes never need it.
        import tenacity

        return tenacity.Retrying(**self._options(started))(repeat)

    async def run_async(self, attempt: Callable[[], Awaitable[_Result]]) -> _Result:
        """Await `attempt` as `run` calls it."""
        started = time.monotonic()
        try:
            return await attempt()
        except Exception as error:
            if not self.is_retryable(error):
                raise
            repeat = _raise_first(error, attempt)
        import tenacity

        async def repeat_async() -> (
            _Result
        ):  # tenacity awaits the results of `async` functions only
            return await repeat()

        return await tenacity.AsyncRetrying(**self._options(started))(repeat_async)

    def _options(self, started: float) -> dict[str, Any]:
        import tenacity

        backoff = tenacity.wait_random_exponential(multiplier=self.initial_wait, max=self.max_wait)
        stops: list[Any] = [self._is_exhausted]
        if self.timeout is not None:
            left = self.timeout - (time.monotonic() - started)
            stops.append(tenacity.stop_before_delay(left))
        return {
            "retry": tenacity.retry_if_exception(self.is_retryable),
            "wait": lambda state: _requested_wait(state) or backoff(state),
            "stop": tenacity.stop_any(*stops),
            "before_sleep": _notify_listener,
            "reraise": True,
        }

    def _is_exhausted(self, state: tenacity.RetryCallState) -> bool:
        may_start = self.waits_for_start and status_of(_last_error(state)) == _UNAVAILABLE
        return state.attempt_number > self.max_retries and not may_start


def rate_limit_error(error: BaseException | None) -> BaseException | None:
    """Return the 429 among an error and its causes; None if there is none."""
    return next((e for e in _with_causes(error) if status_of(e) == _TOO_MANY_REQUESTS), None)


def retry_after(error: BaseException) -> float | None:
    """Return the seconds that an error asks to wait (its ``Retry-After``); None if it does not."""
    seconds = getattr(error, "retry_after", None)
    return float(seconds) if isinstance(seconds, int | float) else None


def parse_retry_after(header: str | None) -> float | None:
    """Parse ``Retry-After``: seconds or an HTTP date (RFC 9110, section 10.2.3).

    Returns:
        Seconds from now, at least 0; None if there is no header, or it is neither a finite number
        nor a date.
    """
    if header is None:
        return None
    with suppress(ValueError):
        seconds = float(header)
        return max(0.0, seconds) if math.isfinite(seconds) else None
    # The parser of dates raises all of these, depending on what is wrong.
    with suppress(ValueError, TypeError, IndexError, OverflowError):
        when = parsedate_to_datetime(header[:_MAX_DATE_CHARS])
        if when.tzinfo is None:
            when = when.replace(tzinfo=timezone.utc)
        return max(0.0, (when - datetime.now(timezone.utc)).total_seconds())
    return None


def _raise_first(error: Exception, attempt: Callable[[], _Result]) -> Callable[[], _Result]:
    """Return a function whose first call raises an error, and whose others are attempts."""
    failed = [error]

    def repeat() -> _Result:
        if failed:
            raise failed.pop()
        return attempt()

    return repeat


def _with_causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        yield error
        seen.add(id(error))
        error = error.__cause__ or error.__context__


def _requested_wait(state: tenacity.RetryCallState) -> float | None:
    """Seconds that the last error asks to wait; a moment if it asks for 0."""
    seconds = retry_after(_last_error(state))
    return None if seconds is None else max(seconds, 0.001)


def _notify_listener(state: tenacity.RetryCallState) -> None:
    error = _last_error(state)
    level = logging.WARNING if status_of(error) == _UNAVAILABLE else logging.INFO
    # The text of other libraries' errors may contain secrets.
    reason = error if isinstance(error, DatabricksError) else type(error).__name__
    wait = state.next_action.sleep if state.next_action else 0.0
    _logger.log(level, "Retry %d in %.1f s: %s", state.attempt_number, wait, reason)
    if listener := retry_listener.get():
        listener(error)


def _last_error(state: tenacity.RetryCallState) -> Any:
    return state.outcome.exception() if state.outcome else None
