"""What the server tells an engine about a request while it runs: is its answer still wanted?"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

__all__ = [
    "KEEP_ALIVE_S",
    "POLL_S",
    "CallEndedError",
    "ClientGoneError",
    "DeadlinePassedError",
    "RequestContext",
]

POLL_S = 0.1
"""How often an engine looks at its call, in seconds: what a client that left may still cost."""


KEEP_ALIVE_S = 15.0
"""Seconds of silence after which a stream says that it is alive: proxies reap idle connections."""


class CallEndedError(Exception):
    """Nobody waits for this answer any more."""


class DeadlinePassedError(CallEndedError):
    """The time that the server gives a request is over, its time in the queue included."""


class ClientGoneError(CallEndedError):
    """The client closed its connection."""


def _stays() -> bool:
    return False


class RequestContext:
    """The deadline of one request, and whether its client is still there.

    Args:
        timeout: Seconds from now until the answer is of no use; ``None`` for no limit.
        client_gone: Says whether the client closed its connection.
        keep_alive: Seconds of silence after which an engine that streams gives an empty piece.
    """

    def __init__(
        self,
        timeout: float | None = None,
        client_gone: Callable[[], bool] = _stays,
        keep_alive: float = KEEP_ALIVE_S,
    ) -> None:
        self.keep_alive = keep_alive
        self._deadline = math.inf if timeout is None else time.monotonic() + timeout
        self._client_gone = client_gone

    def check(self) -> None:
        """Return as long as the answer is wanted.

        Raises:
            DeadlinePassedError: The deadline is over.
            ClientGoneError: The client left.
        """
        if time.monotonic() >= self._deadline:
            raise DeadlinePassedError
        if self._client_gone():
            raise ClientGoneError

    @property
    def ended(self) -> bool:
        """Whether `check` raises by now."""
        try:
            self.check()
        except CallEndedError:
            return True
        return False

    def pause(self) -> float:
        """Seconds to wait before the next `check`: `POLL_S`, or less close to the deadline."""
        return max(0.0, min(POLL_S, self.keep_alive, self._deadline - time.monotonic()))
