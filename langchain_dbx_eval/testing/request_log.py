"""What the workspace was asked, for tests to look at."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["RecordedRequest", "RequestLog"]


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One request that reached the workspace, whatever became of it.

    Attributes:
        method: The HTTP method, such as ``"POST"``.
        path: The decoded path, without the query string.
        headers: The headers, their names in Title-Case; the ``Authorization`` value is masked.
        body: The decoded JSON of the body, or None where it was empty or not JSON.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


class RequestLog:
    """The requests so far, in the order in which they arrived."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: list[RecordedRequest] = []

    def add(self, request: RecordedRequest) -> None:
        """Remember one request."""
        with self._lock:
            self._requests.append(request)

    def snapshot(self) -> list[RecordedRequest]:
        """A copy of the requests so far."""
        with self._lock:
            return list(self._requests)

    def clear(self) -> None:
        """Forget all requests."""
        with self._lock:
            self._requests.clear()
