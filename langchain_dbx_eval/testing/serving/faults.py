"""Faults that a test asks of an endpoint, and how many requests each of them hits."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.testing.errors import Refusal

__all__ = ["BrokenBody", "CutStream", "Delay", "Failure", "FaultPlan", "ResponseFault"]

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


@dataclass(frozen=True, slots=True)
class Failure:
    """An error status instead of the answer."""

    status: int
    retry_after: float | None = None

    def __post_init__(self) -> None:
        if not 400 <= self.status <= 599:
            msg = f"An endpoint fails with a status from 400 to 599, not with {self.status}."
            raise ConfigurationError(msg)

    def refusal(self, endpoint: str) -> Refusal:
        """The answer that the client gets instead."""
        fallback = "BAD_REQUEST" if self.status < 500 else "INTERNAL_ERROR"
        code = _ERROR_CODES.get(self.status, fallback)
        headers = {} if self.retry_after is None else {"Retry-After": f"{self.retry_after:g}"}
        message = f"Endpoint '{endpoint}' was told to fail with status {self.status}."
        return Refusal(self.status, code, message, headers)


@dataclass(frozen=True, slots=True)
class Delay:
    """A pause before the answer."""

    seconds: float


@dataclass(frozen=True, slots=True)
class BrokenBody:
    """An answer with status 200 whose JSON stops in the middle."""


@dataclass(frozen=True, slots=True)
class CutStream:
    """A stream whose connection closes after so many events, before its end."""

    after: int

    def __post_init__(self) -> None:
        if self.after < 0:
            msg = f"A stream is cut after 0 or more events, not {self.after}."
            raise ConfigurationError(msg)


ResponseFault = Failure | BrokenBody | CutStream
T = TypeVar("T")


class FaultPlan:
    """The faults still to come, per endpoint, first asked first served."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._delays: defaultdict[str, list[_Planned[Delay]]] = defaultdict(list)
        self._spoilers: defaultdict[str, list[_Planned[ResponseFault]]] = defaultdict(list)

    def add(self, endpoint: str, fault: Delay | ResponseFault, times: int | None) -> None:
        """Plan a fault for the next `times` requests that it can hit; None is for all of them."""
        if times is not None and times < 1:
            msg = f"A fault hits at least one request, or all of them (None), not {times}."
            raise ConfigurationError(msg)
        with self._lock:
            if isinstance(fault, Delay):
                self._delays[endpoint].append(_Planned(fault, times))
            else:
                self._spoilers[endpoint].append(_Planned(fault, times))

    def take_delay(self, endpoint: str) -> Delay | None:
        """The delay of the request at hand."""
        with self._lock:
            return _take(self._delays[endpoint], lambda _: True)

    def take_spoiler(self, endpoint: str, *, streaming: bool) -> ResponseFault | None:
        """What else goes wrong with the request at hand; a cut waits for one that streams."""
        with self._lock:
            return _take(
                self._spoilers[endpoint],
                lambda fault: streaming or not isinstance(fault, CutStream),
            )


@dataclass(slots=True)
class _Planned(Generic[T]):
    fault: T
    left: int | None


def _take(planned: list[_Planned[T]], fits: Callable[[T], bool]) -> T | None:
    for entry in planned:
        if fits(entry.fault):
            if entry.left is not None:
                entry.left -= 1
                if entry.left == 0:
                    planned.remove(entry)
            return entry.fault
    return None
