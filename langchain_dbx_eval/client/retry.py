"""One policy for what is tried again, and when."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from langchain_dbx_eval.errors import DatabricksError

if TYPE_CHECKING:
    import tenacity

__all__ = ["RetryPolicy", "retry_listener"]

_Result = TypeVar("_Result")

retry_listener: ContextVar[Callable[[DatabricksError], object] | None] = ContextVar(
    "retry_listener", default=None
)
"""Told of each failure that is met with another try, in whatever thread: who makes many calls at
once can make fewer, which the calls themselves cannot know to do."""


@dataclass(frozen=True)
class RetryPolicy:
    """When a call is tried again.

    An error says for itself whether it may pass (`DatabricksError.retryable`) and how long the
    other side asks to wait. Without such a wish, the wait is random within a window that doubles
    from half a second to 30 s ("full jitter": AWS Architecture Blog, "Exponential Backoff And
    Jitter").

    Attributes:
        max_retries: Tries after the first one.
        timeout: Seconds for all tries and waits together. A wait that would outlast them is not
            begun: the last error is raised at once.
        silence: Seconds that a stream may be silent.
    """

    max_retries: int
    timeout: float
    read_timeout: float

    def run(self, attempt: Callable[[], _Result]) -> _Result:
        """Make a call, and make it again as long as it may pass.

        The first try stands outside tenacity: nearly every call ends with it, and it would take as
        long as all the rest of our own work to set up the others.
        """
        began = time.monotonic()
        try:
            return attempt()
        except DatabricksError as error:
            if not error.retryable:
                raise
            failed = [error]

        def again() -> _Result:
            if failed:
                raise failed.pop()
            return attempt()

        # Loaded by the first call that fails: most processes never need it.
        import tenacity

        return tenacity.Retrying(**self._rules(began))(again)

    async def run_async(self, attempt: Callable[[], Awaitable[_Result]]) -> _Result:
        """The twin of `run` for a coroutine."""
        began = time.monotonic()
        try:
            return await attempt()
        except DatabricksError as error:
            if not error.retryable:
                raise
            failed = [error]

        async def again() -> _Result:
            if failed:
                raise failed.pop()
            return await attempt()

        import tenacity

        return await tenacity.AsyncRetrying(**self._rules(began))(again)

    def _rules(self, began: float) -> dict[str, Any]:
        import tenacity

        backoff = tenacity.wait_random_exponential(multiplier=0.5, max=30)
        left = self.timeout - (time.monotonic() - began)
        return {
            "retry": tenacity.retry_if_exception(_may_pass),
            "wait": lambda state: _asked_to_wait(state) or backoff(state),
            "stop": tenacity.stop_after_attempt(self.max_retries + 1)
            | tenacity.stop_before_delay(left),
            "before_sleep": _tell_listener,
            "reraise": True,
        }


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, DatabricksError) and error.retryable


def _asked_to_wait(state: tenacity.RetryCallState) -> float | None:
    """Seconds that the answer asks to wait; a moment where it asks for none at all."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, DatabricksError) else None
    return None if asked is None else max(asked, 0.001)


def _tell_listener(state: tenacity.RetryCallState) -> None:
    listener = retry_listener.get()
    error = state.outcome.exception() if state.outcome else None
    if listener is not None and isinstance(error, DatabricksError):
        listener(error)
