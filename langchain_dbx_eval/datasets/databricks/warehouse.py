"""A SQL warehouse: looked at, started, waited for, and told off, within one deadline."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from langchain_dbx_eval._internal.deadline import Deadline
from langchain_dbx_eval.datasets.databricks.unity_catalog import sdk_errors
from langchain_dbx_eval.datasets.open_dataset import LoadOptions
from langchain_dbx_eval.errors import (
    ConfigurationError,
    NotFoundError,
    PermissionDeniedError,
    WarehouseError,
)

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.service.sql import GetWarehouseResponse

__all__ = ["await_running", "warehouse_id_of"]

_logger = logging.getLogger(__name__)

# A warehouse may still say STOPPED for a moment after it was told to start (apache/airflow#70088).
_GRACE_SECONDS = 10.0
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 5.0
_ASLEEP = frozenset({"STOPPED", "STOPPING"})
_GONE = frozenset({"DELETED", "DELETING"})


def warehouse_id_of(reach: LoadOptions) -> str:
    """The warehouse that was asked for.

    Raises:
        ConfigurationError: None was.
    """
    chosen = reach.warehouse_id or os.environ.get("DATABRICKS_WAREHOUSE_ID")
    if not chosen:
        msg = (
            "Which SQL warehouse? Pass warehouse_id=, or set DATABRICKS_WAREHOUSE_ID. The id is in "
            "the warehouse's page in the workspace, under SQL Warehouses, beside its name."
        )
        raise ConfigurationError(msg)
    return chosen


def await_running(client: WorkspaceClient, warehouse_id: str, deadline: Deadline) -> None:
    """Return when the warehouse runs; start it where it is stopped, and say so.

    Raises:
        NotFoundError: There is no such warehouse.
        WarehouseError: It was deleted, cannot start, or did not within the deadline.
    """
    # Who may use a warehouse need not be allowed to look at it: then the statement will tell.
    found = _look_at(client, warehouse_id)
    if found is None or _state(found) == "RUNNING":
        return
    if _state(found) in _GONE:
        raise _failure(found, f"is {_state(found)}: choose another one, by warehouse_id=")
    _logger.warning(
        "SQL warehouse %s is %s: %s for up to %.0f s.",
        _words(found),
        _state(found),
        "starting it and waiting" if _state(found) in _ASLEEP else "waiting",
        deadline.remaining,
    )
    if _state(found) in _ASLEEP:
        _start(client, warehouse_id)
    _wait_for_start(client, warehouse_id, deadline)
    _logger.warning("SQL warehouse %s is running.", _words(found))


def _wait_for_start(client: WorkspaceClient, warehouse_id: str, deadline: Deadline) -> None:
    grace, pause = Deadline(_GRACE_SECONDS), _FIRST_PAUSE
    seen_starting = False
    while (found := _look_at(client, warehouse_id)) is not None:
        state = _state(found)
        if state == "RUNNING":
            return
        seen_starting = seen_starting or state == "STARTING"
        if state in _GONE or (state == "STOPPED" and (seen_starting or grace.passed)):
            raise _failure(found, f"did not start, and is {state} now")
        if not deadline.remaining:
            action = f"is still {state} after {deadline.seconds:.0f} s"
            raise _failure(found, f"{action}; pass a longer timeout=, or start it beforehand")
        deadline.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE)


def _look_at(client: WorkspaceClient, warehouse_id: str) -> GetWarehouseResponse | None:
    try:
        with sdk_errors(f"SQL warehouse '{warehouse_id}' in {client.config.host}"):
            return client.warehouses.get(warehouse_id)
    except PermissionDeniedError:
        return None
    except NotFoundError as error:
        msg = f"{error} List yours with `databricks warehouses list`."
        raise NotFoundError(msg) from error


def _start(client: WorkspaceClient, warehouse_id: str) -> None:
    try:
        with sdk_errors(f"starting SQL warehouse '{warehouse_id}'"):
            client.warehouses.start(warehouse_id)
    except PermissionDeniedError:
        # Sending it a statement starts it too, and may be allowed.
        _logger.warning("You may not start it by hand; the statement will.")


def _failure(found: GetWarehouseResponse, action: str) -> WarehouseError:
    health = _health(found)
    said = f" It says: {health}" if health else ""
    return WarehouseError(
        f"SQL warehouse {_words(found)} {action}.{said}",
        warehouse_id=found.id or "",
        state=_state(found),
        health=health,
    )


def _state(found: GetWarehouseResponse) -> str:
    return found.state.value if found.state else "UNKNOWN"


def _words(found: GetWarehouseResponse) -> str:
    return f"'{found.name}' ({found.id})" if found.name else f"'{found.id}'"


def _health(found: GetWarehouseResponse) -> str | None:
    if found.health is None:
        return None
    reason = found.health.failure_reason
    parts = [found.health.summary, found.health.details, found.health.message]
    if reason is not None and reason.code is not None:
        parts.append(reason.code.value)
    return "; ".join(dict.fromkeys(part for part in parts if part)) or None
