"""A deadline for a piece of work that consists of several calls."""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["TIMEOUT_ERRORS", "Deadline", "DeadlineError", "run_task"]

TIMEOUT_ERRORS = (TimeoutError, asyncio.TimeoutError, concurrent.futures.TimeoutError)
"""The timeouts of the standard library, which are one class since Python 3.11."""

_Result = TypeVar("_Result")
_CANCEL_TIMEOUT_S = 1.0


class DeadlineError(TimeoutError):
    """A task did not end before its deadline; a TimeoutError of its own is of another class."""


async def run_task(coroutine: Coroutine[Any, Any, _Result], seconds: float | None) -> _Result:
    """Await a coroutine in a task of its own, for a limited time.

    Unlike `asyncio.wait_for`, it does not wait for a task that ignores its cancellation; and a task
    that cancels itself does not cancel the caller.

    Args:
        coroutine: The coroutine.
        seconds: Seconds after which the task is canceled; None: no limit.

    Raises:
        DeadlineError: The task did not end in time.
        RuntimeError: The task canceled itself.
        BaseException: What the coroutine raised.
    """
    task = asyncio.ensure_future(coroutine)
    try:
        await asyncio.wait({task}, timeout=seconds)
    finally:
        task.cancel()
    if not task.done():
        # For the task to clean up. A thread that it waits for cannot be stopped.
        await asyncio.wait({task}, timeout=_CANCEL_TIMEOUT_S)
        raise DeadlineError
    if task.cancelled():
        msg = "it canceled its own task"
        raise RuntimeError(msg)
    return task.result()


class Deadline:
    """The moment at which a piece of work must have ended, all its attempts included.

    Args:
        seconds: Seconds from the start; kept for messages.
        started: When the work started, by `time.monotonic`; default: now.
    """

    def __init__(self, seconds: float, started: float | None = None) -> None:
        self.seconds = seconds
        self._at = (time.monotonic() if started is None else started) + seconds

    @property
    def remaining(self) -> float:
        """Seconds until the deadline; 0 when it has passed."""
        return max(0.0, self._at - time.monotonic())

    @property
    def passed(self) -> bool:
        """Whether the deadline has passed."""
        return time.monotonic() >= self._at

    def sleep(self, seconds: float) -> None:
        """Sleep, but not beyond the deadline."""
        time.sleep(min(seconds, self.remaining))
