"""The limiter of the tasks of one machine, which learns how many requests per second are accepted.

A limit of concurrent calls does not keep a limit per second, because one request in flight may
already exceed it: after a 429 the calls are spaced, first by the rate at which answers came, and
then by slow increase and a decrease after a 429.

The processes of one machine share the rate and the time of the next call in a small file, which is
locked for some microseconds per call: together they are one client, and a process that ends leaves
its share to the others at once. Machines exchange no messages: a table reacts once per commit,
which takes seconds. Their rates approach equal shares, because each call is refused with the same
probability (Chiu and Jain, see `AdaptiveLimiter`; for the increase by the square root, D. Bansal
and H. Balakrishnan, "Binomial Congestion Control Algorithms", INFOCOM 2001).
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import random
import struct
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from langchain_dbx_eval._internal.limiter import MAX_WAIT_S, AdaptiveLimiter
from langchain_dbx_eval._internal.retry import rate_limit_error, retry_after

__all__ = ["PacedLimiter"]

_WINDOW_S = 2.0
_MIN_RATE = 0.05
_LATE_S = 0.05
_MAX_ROUNDS = 20
# The share of the measured rate with which calls continue after the first 429: a bucket of tokens,
# and several machines that are answered in turn, measure more than what lasts.
_FIRST = 0.6
_DECREASE = 0.85
_REACTION_S = 1.0
# Growth per second. Slow near the rate at which the last 429 came, fast below and beyond it, and
# ever faster if no 429 comes for longer than it should, because others left their share; as in
# CUBIC (RFC 9438, section 4.1), with steps instead of a curve.
_SLOW = 0.015
_FAST = 0.1
_FASTEST = 0.5
_NEAR = (0.6, 1.15)
_CALM_S = 5.0
_CALM_CALLS = 10
# The weight of a call in the moving share of refused calls, and the share from which the rate is
# not just a little too high: it is then lowered to what was accepted.
_WEIGHT = 0.2
_MANY = 0.35
_MAX_SKIPPED = 8
# The smallest value of the header Retry-After, in seconds: no more than "not now".
_SHORTEST_WAIT_S = 1.0


@dataclass
class _Pace:
    """The state that processes share. Times are those of the monotonic clock of the machine.

    Attributes:
        updated: When the state was changed.
        rate: Calls per second that may start; 0: any number.
        refused_rate: The rate at the last 429; 0: unknown.
        grown: Up to when the rate has grown.
        refused: When the last 429 came.
        decreased: When the rate was lowered.
        next_start: When the next call may start.
        measured: When the rate is measured; 0: it is known, or needs no limit.
        refused_share: The moving share of refused calls.
        refused_in_a_row: The number of 429 since the last answer.
        window: The start of the window in which answers are counted.
        recent: The answers in this window.
        earlier: The answers in the window before.
    """

    updated: float = 0.0
    rate: float = 0.0
    refused_rate: float = 0.0
    grown: float = 0.0
    refused: float = 0.0
    decreased: float = 0.0
    next_start: float = 0.0
    measured: float = 0.0
    refused_share: float = 0.0
    refused_in_a_row: float = 0.0
    window: float = 0.0
    recent: float = 0.0
    earlier: float = 0.0

    def count_answer(self, now: float) -> None:
        """Count an answer."""
        self._turn_window(now)
        self.recent += 1
        self.refused_in_a_row = 0
        self.refused_share *= 1 - _WEIGHT

    def count_refusal(self, now: float) -> None:
        """Count a 429, and lower the rate, unless it belongs to calls before the last decrease."""
        self.refused_in_a_row += 1
        if not self.rate:
            # The answers of the calls in flight tell the rate: it is measured a second later.
            self.rate, self.decreased = 1.0, now
            self.measured = self.next_start = now + 1.0
            return
        if self.measured:
            return
        self.refused_share += _WEIGHT * (1 - self.refused_share)
        self._grow(now)
        if now - self.decreased >= max(_REACTION_S, 1 / self.rate):
            self.refused_rate, factor = self.rate, _DECREASE
            if self.refused_share > _MANY:
                # How high it may be is unknown: it grows fast until the next 429.
                self.refused_rate, factor = 0.0, max(0.5, 1 - self.refused_share)
            self.rate = max(_MIN_RATE, self.rate * factor)
            self.decreased = now
        self.refused = now
        if self.refused_in_a_row > 1:
            # Endpoints that count refused calls too accept none until there is a gap.
            skipped = min(_MAX_SKIPPED, 2 ** (self.refused_in_a_row - 1))
            self.postpone(now + random.uniform(0.5, 1.5) * skipped / self.rate)  # noqa: S311 - jitter

    def postpone(self, start: float) -> None:
        """Start no call before a moment."""
        self.next_start = max(self.next_start, start)

    def take_turn(self, now: float) -> float:
        """Take the turn of a call; if it is not due, return in how many seconds it may be."""
        if not self.rate:
            self._turn_window(now)
            return 0.0
        if now < max(self.measured, self.next_start):
            return max(self.measured, self.next_start) - now
        if self.measured:
            self.rate, self.measured = max(1.0, _FIRST * self._answered_rate(now)), 0.0
            self.refused = self.grown = now
        self._grow(now)
        # A process wakes up late: the next turn is counted from when this one was due.
        self.next_start = max(self.next_start, now - _LATE_S) + 1 / self.rate
        return 0.0

    def _turn_window(self, now: float) -> None:
        if now - self.window >= _WINDOW_S:
            self.earlier = self.recent if now - self.window < 2 * _WINDOW_S else 0.0
            self.recent, self.window = 0.0, now

    def _answered_rate(self, now: float) -> float:
        """Return the answers per second of the last seconds."""
        elapsed = now - self.window
        if elapsed >= 2 * _WINDOW_S:
            return 0.0
        elapsed += _WINDOW_S if self.earlier else 0.0
        return (self.earlier + self.recent) / max(1.0, elapsed)

    def _grow(self, now: float) -> None:
        elapsed, self.grown = min(1.0, max(0.0, now - self.grown)), now
        if self.rate > 2 * self._answered_rate(now) + 1:
            # Something else limits the calls: no answer tells whether more would be accepted.
            return
        low, high = (self.refused_rate * factor for factor in _NEAR)
        # The square root grows faster, relatively, on a machine that has less than its share.
        growth = _FAST * self.rate
        if low <= self.rate <= high:
            growth = _SLOW * math.sqrt(self.rate)
        quiet = (now - self.refused) / max(_CALM_S, _CALM_CALLS / self.rate)
        if quiet > 1:
            growth = max(growth, min(_FASTEST, _SLOW * quiet**3) * self.rate)
        self.rate += growth * elapsed


_FORMAT = struct.Struct(f"{len(fields(_Pace))}d")


class PacedLimiter(AdaptiveLimiter):
    """Limit the number of concurrent calls of a process, and after a 429 the rate of a machine.

    Args:
        limit: The largest number of concurrent calls of this process.
        shared: The file of the rate, for all processes of the machine that use the same endpoint;
            None: this process alone. If it cannot be written, this process has a rate of its own.
    """

    def __init__(self, limit: int, shared: Path | None = None) -> None:
        super().__init__(limit)
        self._shared = shared
        self._own = _Pace()
        self._turn = asyncio.Lock()
        self._refused_in_a_row = 0
        self._refused_since = math.inf

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
        try:
            # One call waits for a turn at a time: the rate may change while the others wait.
            async with self._turn:
                while True:
                    with self._pace(now := loop.time()) as pace:
                        wait = pace.take_turn(now)
                    if not wait:
                        return
                    await asyncio.sleep(wait)
        except BaseException:
            self.release()
            raise

    def on_success(self) -> None:
        """Record that a call succeeded."""
        now = asyncio.get_running_loop().time()
        self._refused_in_a_row = 0
        with self._pace(now) as pace:
            pace.count_answer(now)
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
        requested = retry_after(rejection) or 0.0
        if requested > max_wait:
            return False
        now = asyncio.get_running_loop().time()
        with self._pace(now) as pace:
            pace.count_refusal(now)
            # The row itself takes the next turn. Only a longer wait holds back the others too, with
            # a random part: machines that were refused together must not return together.
            if requested > _SHORTEST_WAIT_S:
                wait = requested - _SHORTEST_WAIT_S + random.random() / pace.rate  # noqa: S311 - jitter
                pace.postpone(now + wait)
        return not self.exhausted

    @contextlib.contextmanager
    def _pace(self, now: float) -> Iterator[_Pace]:
        """Lock the shared state; changes of it are stored."""
        file = self._open()
        if file is None:
            yield self._own
            return
        try:
            data = os.pread(file, _FORMAT.size, 0)
            pace = _Pace(*_FORMAT.unpack(data)) if len(data) == _FORMAT.size else _Pace()
            if pace.updated > now + 1.0:
                # The clock starts anew with the machine.
                pace = _Pace()
            yield pace
            pace.updated = now
            os.pwrite(file, _FORMAT.pack(*astuple(pace)), 0)
        finally:
            os.close(file)

    def _open(self) -> int | None:
        """Open and lock the file; None if there is none. Closing it, or a crash, unlocks it."""
        if self._shared is None:
            return None
        with contextlib.suppress(ImportError, OSError):
            import fcntl  # not on Windows

            # Each time: the folder is deleted with the journals of an evaluation that has ended.
            file = os.open(self._shared, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(file, fcntl.LOCK_EX)
            return file
        return None
