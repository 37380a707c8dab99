"""A deadline for a piece of work that consists of several calls."""

from __future__ import annotations

import time

__all__ = ["Deadline"]


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
