"""Admission control: limit the number of requests in flight."""

from __future__ import annotations

import threading

from langchain_dbx_eval.driver.errors import RequestError

__all__ = ["Admission"]

_RETRY_AFTER_S = 1


class Admission:
    """Limit the number of requests in flight, and reject the others at once.

    A request runs inside of ``with admission:``. A client that receives a ``Retry-After`` performs
    better than one that waits in a queue of unknown length.

    Args:
        limit: The maximum number of requests in flight; at least 1.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self.in_flight = 0
        """The number of requests in flight."""
        self.draining = False
        """Whether new requests are rejected because the server is stopping."""

    def __enter__(self) -> None:
        """Admit a request.

        Raises:
            RequestError: 429 if all slots are in use, 503 if the server is stopping; both with
                ``Retry-After``.
        """
        with self._lock:
            if self.draining:
                code, message = 503, "The server is stopping: retry when it is running again."
                raise RequestError(
                    code, "TEMPORARILY_UNAVAILABLE", message, retry_after=_RETRY_AFTER_S
                )
            if self.in_flight >= self._limit:
                message = f"All {self._limit} request slots are in use: retry after a second."
                raise RequestError(
                    429, "REQUEST_LIMIT_EXCEEDED", message, retry_after=_RETRY_AFTER_S
                )
            self.in_flight += 1

    def __exit__(self, *exception: object) -> None:
        """Release the slot of the request."""
        with self._lock:
            self.in_flight -= 1
