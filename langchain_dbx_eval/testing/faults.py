"""Faults that a test can inject, and the queue of planned ones.

Faults of serving endpoints: `Failure`, `Delay`, `BrokenBody`, `CutStream`. Faults of SQL
warehouses, managed datasets and volumes: the others.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from dataclasses import dataclass
from typing import TypeVar

from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.testing.errors import ApiError

__all__ = [
    "BrokenBody",
    "CutStream",
    "Delay",
    "Denied",
    "ExpiredLink",
    "FailedStatement",
    "Failure",
    "FaultQueue",
    "LostAnswer",
    "LostChunk",
    "ResponseFault",
    "SlowStatement",
    "SqlFault",
    "Unavailable",
]

_ERROR_CODES = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    409: "RESOURCE_CONFLICT",
    429: "REQUEST_LIMIT_EXCEEDED",
    501: "NOT_IMPLEMENTED",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_Fault = TypeVar("_Fault")


@dataclass(frozen=True, slots=True)
class Delay:
    """A pause before the response."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Failure:
    """An error status instead of the response.

    Attributes:
        status: From 400 to 599.
        retry_after: Seconds for the header ``Retry-After``; None: no header.
    """

    status: int
    retry_after: float | None = None

    def __post_init__(self) -> None:
        if not 400 <= self.status <= 599:
            msg = f"The status of a failure must be from 400 to 599, not {self.status}."
            raise ConfigurationError(msg)

    def to_error(self, endpoint: str) -> ApiError:
        """Return the error response of an endpoint."""
        fallback = "BAD_REQUEST" if self.status < 500 else "INTERNAL_ERROR"
        code = _ERROR_CODES.get(self.status, fallback)
        headers = {} if self.retry_after is None else {"Retry-After": f"{self.retry_after:g}"}
        message = f"Injected fault: endpoint '{endpoint}' fails with status {self.status}."
        return ApiError(self.status, code, message, headers)


@dataclass(frozen=True, slots=True)
class BrokenBody:
    """A response with status 200 whose JSON is truncated."""


@dataclass(frozen=True, slots=True)
class CutStream:
    """A stream whose connection is closed before its end.

    Attributes:
        after: The number of events that are sent.
    """

    after: int

    def __post_init__(self) -> None:
        if self.after < 0:
            msg = f"A stream is cut after 0 or more events, not {self.after}."
            raise ConfigurationError(msg)


ResponseFault = Failure | BrokenBody | CutStream
"""A fault that changes the response of an endpoint."""


@dataclass(frozen=True, slots=True)
class FailedStatement:
    """A statement that fails; Databricks reports it with status 200."""

    message: str = "[DIVIDE_BY_ZERO] Division by zero."
    sql_state: str | None = "22012"


@dataclass(frozen=True, slots=True)
class SlowStatement:
    """A statement that runs for some seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Unavailable:
    """A response with status 503.

    Attributes:
        retry_after: Seconds for the header ``Retry-After``.
    """

    retry_after: float = 0


@dataclass(frozen=True, slots=True)
class LostAnswer:
    """A request that is executed, but whose connection is closed before the response."""


@dataclass(frozen=True, slots=True)
class ExpiredLink:
    """A link to a chunk that returns 403."""


@dataclass(frozen=True, slots=True)
class LostChunk:
    """A link to a chunk that returns 404."""


@dataclass(frozen=True, slots=True)
class Denied:
    """A write that is answered with 403, because the user lacks the privilege."""

    message: str = "User does not have MODIFY on it."


SqlFault = (
    FailedStatement | SlowStatement | Unavailable | LostAnswer | ExpiredLink | LostChunk | Denied
)
"""A fault of a SQL warehouse, a managed dataset or a volume."""


class FaultQueue:
    """The planned faults of each endpoint, warehouse, dataset and volume, in order."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._planned: defaultdict[str, list[_PlannedFault]] = defaultdict(list)

    def add(self, target: str, fault: Delay | ResponseFault | SqlFault, times: int | None) -> None:
        """Plan a fault.

        Args:
            target: The name of the endpoint, warehouse, dataset or volume.
            fault: The fault.
            times: How many requests it affects; None: all from now on.

        Raises:
            ConfigurationError: `times` is below 1.
        """
        if times is not None and times < 1:
            msg = f"A fault affects at least one request, or all with times=None, not {times}."
            raise ConfigurationError(msg)
        with self._lock:
            self._planned[target].append(_PlannedFault(fault, times))

    def take(self, target: str, *types: type[_Fault]) -> _Fault | None:
        """Return the first planned fault of these types, and count it down; None: there is none."""
        with self._lock:
            planned = self._planned[target]
            for entry in planned:
                if isinstance(entry.fault, types):
                    if entry.remaining is not None:
                        entry.remaining -= 1
                        if entry.remaining == 0:
                            planned.remove(entry)
                    return entry.fault
        return None


@dataclass(slots=True)
class _PlannedFault:
    fault: Delay | ResponseFault | SqlFault
    remaining: int | None
