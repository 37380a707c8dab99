"""Adaptive limiter for concurrent calls: fewer of them while the endpoint answers 429."""

from __future__ import annotations

import asyncio
import time
from collections import deque

from langchain_dbx_eval._internal.retry import rate_limit_error, retry_after

__all__ = ["MAX_WAIT_S", "AdaptiveLimiter", "refused_wait"]

MAX_WAIT_S = 600.0
"""The longest wait, in seconds, that is obeyed if a 429 asks for it and there is no deadline."""

_MIN_PAUSE_S = 0.5
_MAX_PAUSE_S = 30.0
_MAX_REJECTED_ROUNDS = 8


class AdaptiveLimiter:
    """Limit the number of concurrent calls, and lower the limit while calls are answered with 429.

    Additive increase, multiplicative decrease, as in TCP (D.-M. Chiu and R. Jain, "Analysis of the
    Increase and Decrease Algorithms for Congestion Avoidance in Computer Networks", Computer
    Networks and ISDN Systems 17, 1989): a 429 halves the limit, and as many successes as the limit
    raise it by one. After a 429 no call starts for half a second, which doubles with each further
    one in a row, or for longer if the response asks for it. A 429 that arrives during this pause
    belongs to a call that was already in flight and is ignored.

    An instance belongs to one event loop.

    Args:
        limit: The largest number of concurrent calls, and the initial limit.
    """

    def __init__(self, limit: int) -> None:
        self._max = limit
        self._limit = float(limit)
        self._acquired = 0
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._paused_until = 0.0
        self._rejected_rounds = 0

    @property
    def limit(self) -> int:
        """How many calls may be in flight now."""
        return int(self._limit)

    @property
    def exhausted(self) -> bool:
        """Whether only 429 came for so many rounds (8, over a minute) that waiting is pointless."""
        return self._rejected_rounds >= _MAX_REJECTED_ROUNDS

    @property
    def is_rejecting(self) -> bool:
        """Whether the last call that ended was answered with 429."""
        return self._rejected_rounds > 0

    @property
    def is_lowered(self) -> bool:
        """Whether 429 lowered the limit, and the successes since then have not raised it again."""
        return self.limit < self._max

    @property
    def pause_seconds(self) -> float:
        """How long no call starts, because of a 429; may be read in another thread."""
        # The clock of the event loop (asyncio documentation, "loop.time").
        return max(0.0, self._paused_until - time.monotonic())

    async def acquire(self) -> None:
        """Wait for a slot and for the end of the current pause."""
        loop = asyncio.get_running_loop()
        while self._acquired >= self.limit:
            waiter: asyncio.Future[None] = loop.create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                # The slot may have been assigned already: pass it on.
                self._wake()
                raise
        self._acquired += 1
        try:
            while (pause := self._paused_until - loop.time()) > 0:
                await asyncio.sleep(pause)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Return a slot."""
        self._acquired -= 1
        self._wake()

    async def reacquire(self) -> None:
        """Return a slot, and wait for one again.

        If this is canceled, the caller still has a slot to return.
        """
        self.release()
        try:
            await self.acquire()
        except BaseException:
            self._acquired += 1
            raise

    def on_success(self) -> None:
        """Record that a call succeeded."""
        self._rejected_rounds = 0
        self._limit = min(float(self._max), self._limit + 1 / self._limit)
        self._wake()

    def on_error(self, error: BaseException | None, max_wait: float = MAX_WAIT_S) -> bool:
        """Record that a call failed, and lower the limit if the cause is a 429.

        Args:
            error: The error, from any HTTP client; None if the call did not fail.
            max_wait: The longest wait, in seconds, that is obeyed if the response asks for it.

        Returns:
            Whether the call should be repeated: it was a 429 that does not ask for a longer wait,
            and the limiter is not `exhausted`.
        """
        rejection = rate_limit_error(error)
        if rejection is None:
            return False
        requested = retry_after(rejection) or 0.0
        now = asyncio.get_running_loop().time()
        if now >= self._paused_until:
            self._limit = max(1.0, self._limit / 2)
            pause = min(_MIN_PAUSE_S * 2**self._rejected_rounds, _MAX_PAUSE_S)
            self._rejected_rounds += 1
            if not self.exhausted and requested <= max_wait:
                self._paused_until = now + max(pause, requested)
        return not self.exhausted and requested <= max_wait

    def _wake(self) -> None:
        free = self.limit - self._acquired
        while free > 0 and self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                free -= 1


def refused_wait(error: BaseException | None, max_wait: float, argument: str) -> str:
    """Return a remark on a 429 that asks for too long a wait; empty for any other error.

    Args:
        error: The error.
        max_wait: As for `AdaptiveLimiter.on_error`.
        argument: The argument that limits the wait.
    """
    rejection = rate_limit_error(error)
    requested = None if rejection is None else retry_after(rejection)
    if requested is None or requested <= max_wait:
        return ""
    return (
        f" It is not repeated: the response asks to wait {requested:g} s, and {argument} leaves "
        f"{max_wait:.3g} s."
    )
