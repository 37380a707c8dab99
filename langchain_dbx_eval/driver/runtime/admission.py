"""How many requests are worked on at once, and what the others are told."""

from __future__ import annotations

import threading

from langchain_dbx_eval.driver.errors import RequestError

__all__ = ["MAX_IN_FLIGHT", "Admission", "Slot"]

MAX_IN_FLIGHT = 64
"""As many as a model's batch usefully holds; an engine queues what it cannot begin at once."""

_RETRY_AFTER_S = 1


class Admission:
    """Lets in a bounded number of requests and turns the others away at once.

    A client that is told to come back does better than one that waits in a line it cannot see.

    Args:
        limit: The most requests in flight; at least 1.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._in_flight = 0
        self._draining = False

    @property
    def in_flight(self) -> int:
        """How many requests are in."""
        return self._in_flight

    @property
    def draining(self) -> bool:
        """Whether nobody is let in any more."""
        return self._draining

    def enter(self) -> Slot:
        """Let a request in.

        Returns:
            Its place, to be released when the request is over.

        Raises:
            RequestError: 429 when all places are taken, 503 when the server is about to stop;
                both with ``Retry-After``.
        """
        with self._lock:
            if self._draining:
                message = "The server is stopping: send the request again when it is back."
                raise RequestError(
                    503, "TEMPORARILY_UNAVAILABLE", message, retry_after=_RETRY_AFTER_S
                )
            if self._in_flight >= self._limit:
                message = f"All {self._limit} places are taken: send the request again shortly."
                raise RequestError(
                    429, "REQUEST_LIMIT_EXCEEDED", message, retry_after=_RETRY_AFTER_S
                )
            self._in_flight += 1
        return Slot(self)

    def drain(self) -> None:
        """Let nobody in any more."""
        self._draining = True

    def open(self) -> None:
        """Let requests in again."""
        self._draining = False

    def _leave(self) -> None:
        with self._lock:
            self._in_flight -= 1


class Slot:
    """The place of one request in flight."""

    def __init__(self, admission: Admission) -> None:
        self._admission: Admission | None = admission

    def release(self) -> None:
        """Give the place back. Does nothing the second time."""
        admission, self._admission = self._admission, None
        if admission is not None:
            admission._leave()
