"""What can go wrong with a SQL warehouse or a managed dataset, for a test to ask for."""

from __future__ import annotations

import threading
from collections import defaultdict
from dataclasses import dataclass

from langchain_dbx_eval.errors import ConfigurationError

__all__ = [
    "Denied",
    "ExpiredLink",
    "FailedStatement",
    "LostAnswer",
    "LostChunk",
    "SlowStatement",
    "SqlFault",
    "SqlFaults",
    "Unavailable",
]


@dataclass(frozen=True, slots=True)
class FailedStatement:
    """The statement fails, which Databricks says with status 200."""

    message: str = "[DIVIDE_BY_ZERO] Division by zero."
    sql_state: str | None = "22012"


@dataclass(frozen=True, slots=True)
class SlowStatement:
    """The statement takes so long."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Unavailable:
    """The workspace answers 503."""

    retry_after: float = 0


@dataclass(frozen=True, slots=True)
class LostAnswer:
    """The statement is done, but the connection closes before the answer."""


@dataclass(frozen=True, slots=True)
class ExpiredLink:
    """The link to a chunk answers 403."""


@dataclass(frozen=True, slots=True)
class LostChunk:
    """The link to a chunk answers 404."""


@dataclass(frozen=True, slots=True)
class Denied:
    """The login may not write this: 403."""

    message: str = "User does not have MODIFY on it."


SqlFault = (
    FailedStatement | SlowStatement | Unavailable | LostAnswer | ExpiredLink | LostChunk | Denied
)


class SqlFaults:
    """The faults still to come, per warehouse or dataset; each kind is met where it can happen."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._planned: defaultdict[str, list[SqlFault]] = defaultdict(list)

    def add(self, warehouse_id: str, fault: SqlFault, times: int) -> None:
        """Plan a fault for the next `times` occasions.

        Raises:
            ConfigurationError: `times` is below 1.
        """
        if times < 1:
            msg = f"A fault hits at least one request, not {times}."
            raise ConfigurationError(msg)
        with self._lock:
            self._planned[warehouse_id] += [fault] * times

    def take(self, warehouse_id: str, *kinds: type[SqlFault]) -> SqlFault | None:
        """The next fault of these kinds."""
        with self._lock:
            for fault in self._planned[warehouse_id]:
                if isinstance(fault, kinds):
                    self._planned[warehouse_id].remove(fault)
                    return fault
        return None
