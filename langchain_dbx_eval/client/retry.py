"""One policy for what is tried again, and when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tenacity

from langchain_dbx_eval.errors import DatabricksError

__all__ = ["RetryPolicy"]

_backoff = tenacity.wait_random_exponential(multiplier=0.5, max=30)


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
    silence: float

    def retrying(self) -> tenacity.Retrying:
        """The policy as tenacity runs it around a synchronous call."""
        return tenacity.Retrying(**self._rules())

    def retrying_async(self) -> tenacity.AsyncRetrying:
        """The policy as tenacity runs it around a coroutine."""
        return tenacity.AsyncRetrying(**self._rules())

    def _rules(self) -> dict[str, Any]:
        return {
            "retry": tenacity.retry_if_exception(_may_pass),
            "wait": _wait,
            "stop": tenacity.stop_after_attempt(self.max_retries + 1)
            | tenacity.stop_before_delay(self.timeout),
            "reraise": True,
        }


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, DatabricksError) and error.retryable


def _wait(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, DatabricksError) else None
    return asked if asked is not None else _backoff(state)
