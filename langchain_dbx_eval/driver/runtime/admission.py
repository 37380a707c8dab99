"""Admission control: limit the number of requests in flight."""

from __future__ import annotations

import threading

from langchain_dbx_eval.driver.errors import RequestError

__all__ = ["MAX_IN_FLIGHT", "Admission", "Slot"]

MAX_IN_FLIGHT = 64
"""As many requests as a model usefully batches. An engine queues what it cannot start at once."""

_RETRY_AFTER_S = 1


class Admission:
    """Limit the number of requests in flight, and reject the others at once.

    A client that receives a ``Retry-After`` performs better than one that waits in a queue of
    unknown length.

    Args:
        limit: The maximum number of requests in flight; at least 1.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._in_flight = 0
        self._draining = False

    @property
    def in_flight(self) -> int:
        """The number of requests in flight."""
        return self._in_flight

    @property
    def draining(self) -> bool:
        """Whether new requests are rejected because the server is stopping."""
        return self._draining

    def acquire(self) -> Slot:
        """Admit a request.

        Returns:
            Its slot, to be released at the end of the request.

        Raises:
            RequestError: 429 if all slots are in use, 503 if the server is stopping; both with
                ``Retry-After``.
        """
        with self._lock:
            if self._draining:
                message = "The server is stopping: retry when it is running again."
                raise RequestError(
                    503, "TEMPORARILY_UNAVAILABLE", message, retry_after=_RETRY_AFTER_S
                )
            if self._in_flight >= self._limit:
                message = f"All {self._limit} request slots are in use: retry after a second."
                raise RequestError(
                    429, "REQUEST_LIMIT_EXCEEDED", message, retry_after=_RETRY_AFTER_S
                )
            self._in_flight += 1
        return Slot(self)

    def drain(self) -> None:
        """Reject new requests from now on."""
        self._draining = True

    def open(self) -> None:
        """Admit requests again."""
        self._draining = False

    def _release(self) -> None:
        with self._lock:
            self._in_flight -= 1


class Slot:
    """The slot of one request in flight."""

    def __init__(self, admission: Admission) -> None:
        self._admission: Admission | None = admission

    def release(self) -> None:
        """Release the slot. A second call has no effect."""
        admission, self._admission = self._admission, None
        if admission is not None:
            admission._release()
