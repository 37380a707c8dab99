"""Starting a SQL warehouse within a deadline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_dbx_eval._internal.deadline import Deadline
from langchain_dbx_eval._internal.log import get_logger
from langchain_dbx_eval.datasets.databricks.unity_catalog import sdk_errors
from langchain_dbx_eval.errors import NotFoundError, PermissionDeniedError, WarehouseError

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.service.sql import GetWarehouseResponse

__all__ = ["ensure_running"]

_logger = get_logger(__name__)

# For a moment after it was started, a warehouse may still report STOPPED (apache/airflow#70088).
_GRACE_SECONDS = 10.0
_MIN_POLL_INTERVAL = 0.2
_MAX_POLL_INTERVAL = 5.0
_STOPPED = frozenset({"STOPPED", "STOPPING"})
_DELETED = frozenset({"DELETED", "DELETING"})


def ensure_running(client: WorkspaceClient, warehouse_id: str, deadline: Deadline) -> None:
    """Return when a warehouse is running; start it, with a warning in the log, if it is stopped.

    A warehouse that may be used but not viewed is left to the statement, which starts it too.

    Raises:
        NotFoundError: The warehouse does not exist.
        WarehouseError: It was deleted, failed to start, or did not start within the deadline.
    """
    warehouse = _get(client, warehouse_id)
    if warehouse is None or _state_of(warehouse) == "RUNNING":
        return
    label, state = _label_of(warehouse), _state_of(warehouse)
    if state in _DELETED:
        raise _failure(warehouse, f"is {state}: choose another one with warehouse_id=")
    _logger.warning(
        "SQL warehouse %s is %s: %s for up to %.0f s.",
        label,
        state,
        "starting it and waiting" if state in _STOPPED else "waiting",
        deadline.remaining,
    )
    if state in _STOPPED:
        _start(client, warehouse_id)
    _wait_until_running(client, warehouse_id, deadline)
    _logger.warning("SQL warehouse %s is running.", label)


def _wait_until_running(client: WorkspaceClient, warehouse_id: str, deadline: Deadline) -> None:
    grace, interval = Deadline(_GRACE_SECONDS), _MIN_POLL_INTERVAL
    was_starting = False
    while (warehouse := _get(client, warehouse_id)) is not None:
        state = _state_of(warehouse)
        if state == "RUNNING":
            return
        was_starting = was_starting or state == "STARTING"
        if state in _DELETED or (state == "STOPPED" and (was_starting or grace.passed)):
            raise _failure(warehouse, f"failed to start, and is {state}")
        if not deadline.remaining:
            action = f"is still {state} after {deadline.seconds:.0f} s"
            raise _failure(warehouse, f"{action}; pass a longer timeout=, or start it beforehand")
        deadline.sleep(interval)
        interval = min(interval * 1.5, _MAX_POLL_INTERVAL)


def _get(client: WorkspaceClient, warehouse_id: str) -> GetWarehouseResponse | None:
    try:
        with sdk_errors(f"SQL warehouse '{warehouse_id}' in {client.config.host}"):
            return client.warehouses.get(warehouse_id)
    except PermissionDeniedError:
        return None
    except NotFoundError as error:
        msg = f"{error} List the warehouses with `databricks warehouses list`."
        raise NotFoundError(msg) from error


def _start(client: WorkspaceClient, warehouse_id: str) -> None:
    try:
        with sdk_errors(f"the start of SQL warehouse '{warehouse_id}'"):
            client.warehouses.start(warehouse_id)
    except PermissionDeniedError:
        _logger.warning("You lack permission to start it explicitly; the statement will start it.")


def _failure(warehouse: GetWarehouseResponse, action: str) -> WarehouseError:
    health = _health_of(warehouse)
    reason = f" Its health: {health}" if health else ""
    return WarehouseError(
        f"SQL warehouse {_label_of(warehouse)} {action}.{reason}",
        warehouse_id=warehouse.id or "",
        state=_state_of(warehouse),
        health=health,
    )


def _state_of(warehouse: GetWarehouseResponse) -> str:
    return warehouse.state.value if warehouse.state else "UNKNOWN"


def _label_of(warehouse: GetWarehouseResponse) -> str:
    return f"'{warehouse.name}' ({warehouse.id})" if warehouse.name else f"'{warehouse.id}'"


def _health_of(warehouse: GetWarehouseResponse) -> str | None:
    health = warehouse.health
    if health is None:
        return None
    parts = [health.summary, health.details, health.message]
    if health.failure_reason is not None and health.failure_reason.code is not None:
        parts.append(health.failure_reason.code.value)
    return "; ".join(dict.fromkeys(part for part in parts if part)) or None
