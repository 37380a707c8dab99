"""The limiter of the tasks of one process, which learns how many requests per second are accepted.

Processes share no state: each has its share of ``max_concurrency``. A limit per second needs more
than that, because one request in flight may already exceed it: after a 429 a process spaces its
requests, first by the rate at which it had answers, and then by slow increase and a decrease to
90 %. The rates of independent clients of one endpoint approach equal shares this way, without a
message between them (Chiu and Jain, see `AdaptiveLimiter`; for the increase by the square root, D.
Bansal and H. Balakrishnan, "Binomial Congestion Control Algorithms", INFOCOM 2001). A shared state
in a table would react once per commit, which takes seconds.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque

from langchain_dbx_eval._internal.limiter import MAX_WAIT_S, AdaptiveLimiter
from langchain_dbx_eval._internal.retry import rate_limit_error, retry_after

__all__ = ["PacedLimiter"]

_WINDOW_S = 3.0
_MIN_RATE = 0.05
_MAX_ROUNDS = 20
_DECREASE = 0.9
_REACTION_S = 1.5
# Growth per second. Slow near the rate at which the last 429 came, fast below and beyond it, as in
# CUBIC (RFC 9438, section 4.1), with two speeds instead of a curve.
_SLOW = 0.02
_FAST = 0.1
_NEAR = (0.6, 1.15)
# The smallest value of the header Retry-After, in seconds: no more than "not now".
_SHORTEST_WAIT_S = 1.0


class PacedLimiter(AdaptiveLimiter):
    """Limit the number of concurrent calls, and after a 429 also their rate.

    Args:
        limit: The largest number of concurrent calls.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self._rate: float | None = None
        self._refused_rate: float | None = None
        self._first_start: float | None = None
        self._is_starting = False
        self._updated = 0.0
        self._next_start = 0.0
        self._answers: deque[float] = deque(maxlen=1000)
        self._decreased_at = -math.inf
        self._refused_in_a_row = 0

    @property
    def rate(self) -> float | None:
        """Calls per second that may start; None as long as no call was answered with 429."""
        return self._rate

    @property
    def exhausted(self) -> bool:
        """Whether so many calls in a row were answered with 429 that waiting is pointless."""
        return self._refused_in_a_row >= _MAX_ROUNDS * max(1, self.limit)

    def resize(self, change: int) -> None:
        """Change the largest number of concurrent calls, when a task starts or ends."""
        self._max += change
        self._limit = max(1.0, min(float(self._max), self._limit + change))

    async def acquire(self) -> None:
        """Wait for a slot, and for the turn of the call at the present rate."""
        await super().acquire()
        loop = asyncio.get_running_loop()
        if self._first_start is None:
            self._first_start = loop.time()
        try:
            if self._is_starting:
                await asyncio.sleep(self._next_start - loop.time())
            if self._rate is not None:
                await asyncio.sleep(self._reserve(loop.time()))
        except BaseException:
            self.release()
            raise

    def on_success(self) -> None:
        """Record that a call succeeded."""
        self._refused_in_a_row = 0
        self._answers.append(asyncio.get_running_loop().time())
        super().on_success()

    def on_error(self, error: BaseException | None, max_wait: float = MAX_WAIT_S) -> bool:
        """Record that a call failed, and lower the rate if the cause is a 429.

        Args:
            error: See `AdaptiveLimiter.on_error`.
            max_wait: See `AdaptiveLimiter.on_error`.

        Returns:
            See `AdaptiveLimiter.on_error`.
        """
        rejection = rate_limit_error(error)
        if rejection is None:
            return False
        self._refused_in_a_row += 1
        now = asyncio.get_running_loop().time()
        # Calls that were in flight at the last decrease say nothing about the new rate.
        if now - self._decreased_at >= _REACTION_S:
            self._grow(now)
            if self._rate is None:
                # The answers of the calls in flight tell the rate: it is measured a second later.
                self._is_starting, self._rate = True, 1.0
                self._next_start = now + 1.0
            elif not self._is_starting:
                self._refused_rate = self._rate
                self._rate = max(_MIN_RATE, self._rate * _DECREASE)
            self._decreased_at = now
        # The row itself takes the next turn. Only a longer wait holds back the other rows too.
        requested = retry_after(rejection) or 0.0
        if requested > max_wait:
            return False
        wait = max(0.0, requested - _SHORTEST_WAIT_S)
        # A random part: tasks that were refused together must not return together.
        wait += random.random() / (1.0 if self._rate is None else self._rate)  # noqa: S311 - jitter
        if not self._is_starting or wait > 1.0:
            self._next_start = max(self._next_start, now + wait)
        return not self.exhausted

    def _reserve(self, now: float) -> float:
        """Return the seconds until the turn of the next call."""
        if self._is_starting:
            self._is_starting, self._rate = False, self._measure(now)
        self._grow(now)
        start = max(self._next_start, now)
        self._next_start = start + 1 / (self._rate or 1.0)
        return start - now

    def _measure(self, now: float) -> float:
        """Return the answers per second up to now."""
        elapsed = now - (self._first_start or now)
        recent = sum(answer > now - _WINDOW_S for answer in self._answers)
        return max(1.0, recent / min(_WINDOW_S, max(1.0, elapsed)))

    def _grow(self, now: float) -> None:
        if self._rate is not None:
            low, high = ((self._refused_rate or 0.0) * factor for factor in _NEAR)
            is_near = low <= self._rate <= high
            # The square root grows faster, relatively, in a task that has less than its share.
            growth = _SLOW * math.sqrt(self._rate) if is_near else _FAST * self._rate
            self._rate += growth * min(1.0, now - self._updated)
        self._updated = now
