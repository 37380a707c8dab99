"""The limiter of one task, which also learns how many requests per second an endpoint accepts.

Tasks share no state: each has its share of ``max_concurrency``, and lowers it after a 429 as the
local engine does. A limit per second needs more: one request in flight per task may already exceed
it. After a 429 a task therefore spaces its requests, first by the rate at which it had answers, and
then by additive increase and multiplicative decrease. Chiu and Jain (see `AdaptiveLimiter`) prove
that the rates of independent clients of one endpoint converge to equal shares this way, without a
message between them; a shared state in a table would react once per commit, which takes seconds.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque

from langchain_dbx_eval._internal.limiter import AdaptiveLimiter
from langchain_dbx_eval._internal.retry import rate_limit_error, retry_after

__all__ = ["PacedLimiter"]

_WINDOW_S = 3.0
_DECREASE = 0.9
_INCREASE_PER_S = 0.012
"""Share of the rate by which it grows per second: from 90 % back to 100 % in about nine seconds."""
_MIN_RATE = 0.05
_MAX_ROUNDS = 20


class PacedLimiter(AdaptiveLimiter):
    """Limit the number of concurrent calls, and after a 429 also their rate.

    Args:
        limit: The largest number of concurrent calls.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self._rate: float | None = None
        self._updated = 0.0
        self._next_start = 0.0
        self._answers: deque[float] = deque(maxlen=1000)
        self._decreased_at = 0.0
        self._refused_in_a_row = 0

    @property
    def rate(self) -> float | None:
        """Calls per second that may start; None as long as no call was answered with 429."""
        return self._rate

    @property
    def exhausted(self) -> bool:
        """Whether so many calls in a row were answered with 429 that waiting is pointless."""
        return self._refused_in_a_row >= _MAX_ROUNDS * max(1, self.limit)

    async def acquire(self) -> None:
        """Wait for a slot, and for the turn of the call at the present rate."""
        await super().acquire()
        if self._rate is None:
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._grow(now)
        start = max(self._next_start, now)
        self._next_start = start + 1 / self._rate
        try:
            await asyncio.sleep(start - now)
        except BaseException:
            self.release()
            raise

    def on_success(self) -> None:
        """Record that a call succeeded."""
        self._refused_in_a_row = 0
        self._answers.append(asyncio.get_running_loop().time())
        super().on_success()

    def on_error(self, error: BaseException | None) -> bool:
        """Record that a call failed, and lower the rate if the cause is a 429.

        Returns:
            Whether it was a 429: the call should be repeated, unless `exhausted`.
        """
        rejection = rate_limit_error(error)
        if rejection is None:
            return False
        self._refused_in_a_row += 1
        now = asyncio.get_running_loop().time()
        # Calls that were in flight at the last decrease say nothing about the new rate.
        if now - self._decreased_at >= 1.0:
            self._grow(now)
            recent = [answer for answer in self._answers if answer > now - _WINDOW_S]
            measured = len(recent) / _WINDOW_S
            if self._rate is None:
                self._rate = measured or 1.0
            self._rate = max(_MIN_RATE, self._rate * _DECREASE)
            self._decreased_at = now
        # A random part: tasks that were refused together must not return together.
        pause = max(retry_after(rejection) or 0.0, 1 / (self._rate or 1.0))
        self._next_start = max(self._next_start, now) + pause * random.uniform(0.5, 1.0)  # noqa: S311
        return True

    def _grow(self, now: float) -> None:
        if self._rate is not None:
            self._rate *= 1 + _INCREASE_PER_S * max(0.0, now - self._updated)
        self._updated = now
