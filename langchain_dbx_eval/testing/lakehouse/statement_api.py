"""The Statement Execution API: statements, their states, result chunks and download links."""

from __future__ import annotations

import io
import secrets
import threading
import time
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from langchain_dbx_eval.testing.errors import ApiError, invalid_parameter
from langchain_dbx_eval.testing.faults import (
    ExpiredLink,
    FailedStatement,
    FaultQueue,
    LostAnswer,
    LostChunk,
    SlowStatement,
    Unavailable,
)
from langchain_dbx_eval.testing.lakehouse.sql_engine import SqlError, execute
from langchain_dbx_eval.testing.lakehouse.tables import Lakehouse, SqlWarehouse

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["DOWNLOAD_PATH", "StatementApi"]

DOWNLOAD_PATH = "/local-cloud-storage/"
_LINK_MINUTES = 15
_POLL_SECONDS = 0.02


@dataclass(slots=True)
class _Statement:
    warehouse: SqlWarehouse
    sql: str
    parameters: dict[str, str | None]
    arrow: bool
    seconds: float
    statement_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    state: str = "PENDING"
    running_since: float | None = None
    error: SqlError | None = None
    result: pa.Table | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def finished(self) -> bool:
        return self.state not in ("PENDING", "RUNNING")


class StatementApi:
    """The statements of a workspace.

    Args:
        lakehouse: The tables and SQL warehouses.
        faults: The planned faults by warehouse id.
    """

    def __init__(self, lakehouse: Lakehouse, faults: FaultQueue) -> None:
        self._lakehouse = lakehouse
        self._faults = faults
        self._statements: dict[str, _Statement] = {}
        self._links: dict[str, tuple[_Statement, int]] = {}

    def find_warehouse(self, warehouse_id: str) -> SqlWarehouse:
        """Return the warehouse of this id.

        Raises:
            ApiError: It does not exist, or `Unavailable` is injected.
        """
        if fault := self._faults.take(warehouse_id, Unavailable):
            headers = {"Retry-After": f"{fault.retry_after:g}"}
            raise ApiError(503, "TEMPORARILY_UNAVAILABLE", "Try again later.", headers)
        warehouse = self._lakehouse.warehouses.get(warehouse_id)
        if warehouse is None:
            message = f"SQL warehouse {warehouse_id} does not exist."
            raise ApiError(404, "RESOURCE_DOES_NOT_EXIST", message)
        return warehouse

    def submit(self, body: dict[str, Any], url: str) -> dict[str, Any]:
        """Submit a statement, and wait up to `wait_timeout` for its end.

        Args:
            body: The request.
            url: The base URL of download links.

        Returns:
            The state of the statement, and its first chunk if it has ended.

        Raises:
            ApiError: The request is invalid, or a fault is injected.
        """
        warehouse = self.find_warehouse(str(body.get("warehouse_id")))
        wait = _parse_seconds(body.get("wait_timeout", "10s"))
        arrow = body.get("format") == "ARROW_STREAM"
        if arrow and body.get("disposition") != "EXTERNAL_LINKS":
            raise invalid_parameter("ARROW_STREAM requires the disposition EXTERNAL_LINKS.")
        slow = self._faults.take(warehouse.warehouse_id, SlowStatement)
        statement = _Statement(
            warehouse,
            str(body.get("statement")),
            {p["name"]: p.get("value") for p in body.get("parameters", [])},
            arrow,
            slow.seconds if slow else 0.0,
        )
        self._statements[statement.statement_id] = statement
        # On Databricks too, a statement starts its warehouse.
        warehouse.start()
        end = time.monotonic() + wait
        while not self._advance(statement).finished and time.monotonic() < end:
            time.sleep(_POLL_SECONDS)
        if self._faults.take(warehouse.warehouse_id, LostAnswer):
            raise ConnectionResetError
        return self._describe(statement, url)

    def get(self, statement_id: str, url: str) -> dict[str, Any]:
        """Return the state of a statement, and its first chunk if it has ended."""
        return self._describe(self._advance(self._find(statement_id)), url)

    def chunk(self, statement_id: str, index: int, url: str) -> dict[str, Any]:
        """Return a new link to one chunk."""
        return {"external_links": [self._link(self._find(statement_id), index, url)]}

    def cancel(self, statement_id: str) -> None:
        """Cancel a statement; without effect if it has ended."""
        statement = self._find(statement_id)
        if not statement.finished:
            statement.state = "CANCELED"

    def download(self, token: str) -> bytes:
        """Return the bytes of the chunk that a link points to.

        Raises:
            ApiError: The link has expired, or the chunk does not exist.
        """
        if token not in self._links:
            raise ApiError(404, "NoSuchKey", "The specified key does not exist.")
        statement, index = self._links[token]
        fault = self._faults.take(statement.warehouse.warehouse_id, ExpiredLink, LostChunk)
        if isinstance(fault, ExpiredLink):
            raise ApiError(403, "AccessDenied", "Request has expired")
        if isinstance(fault, LostChunk):
            raise ApiError(404, "NoSuchKey", "The specified key does not exist.")
        return _arrow_stream(_chunks(statement)[index])

    def _find(self, statement_id: str) -> _Statement:
        if statement_id not in self._statements:
            message = f"The statement {statement_id} was not found."
            raise ApiError(404, "RESOURCE_DOES_NOT_EXIST", message)
        return self._statements[statement_id]

    def _advance(self, statement: _Statement) -> _Statement:
        with statement.lock:
            if statement.finished or statement.warehouse.current_state() != "RUNNING":
                return statement
            statement.state = "RUNNING"
            now = time.monotonic()
            statement.running_since = statement.running_since or now
            if now - statement.running_since >= statement.seconds:
                self._execute(statement)
        return statement

    def _execute(self, statement: _Statement) -> None:
        fault = self._faults.take(statement.warehouse.warehouse_id, FailedStatement)
        try:
            if fault:
                raise SqlError(fault.message, fault.sql_state or "")
            statement.result = execute(self._lakehouse, statement.sql, statement.parameters)
            statement.state = "SUCCEEDED"
        except SqlError as error:
            statement.error = error
            statement.state = "FAILED"

    def _describe(self, statement: _Statement, url: str) -> dict[str, Any]:
        status: dict[str, Any] = {"state": statement.state}
        if statement.error is not None:
            status["error"] = {"error_code": "BAD_REQUEST", "message": str(statement.error)}
            status["sql_state"] = statement.error.sql_state
        answer: dict[str, Any] = {"statement_id": statement.statement_id, "status": status}
        if statement.result is not None:
            answer |= self._result(statement, statement.result, url)
        return answer

    def _result(self, statement: _Statement, table: pa.Table, url: str) -> dict[str, Any]:
        chunks = _chunks(statement)
        manifest = {
            "format": "ARROW_STREAM" if statement.arrow else "JSON_ARRAY",
            "schema": {"column_count": table.num_columns},
            "total_chunk_count": len(chunks),
            "total_row_count": table.num_rows,
            "truncated": False,
        }
        if not statement.arrow:
            rows = [[_text(cell) for cell in row.values()] for row in table.to_pylist()]
            return {"manifest": manifest, "result": {"data_array": rows}}
        links = [self._link(statement, 0, url)] if chunks else []
        return {"manifest": manifest, "result": {"external_links": links}}

    def _link(self, statement: _Statement, index: int, url: str) -> dict[str, Any]:
        chunks = _chunks(statement)
        if not 0 <= index < len(chunks):
            raise invalid_parameter(f"There is no chunk {index}.")
        token = secrets.token_urlsafe(16)
        self._links[token] = statement, index
        link = {
            "chunk_index": index,
            "row_count": chunks[index].num_rows,
            "external_link": f"{url.rstrip('/')}{DOWNLOAD_PATH}{token}",
            "expiration": _expiration(),
        }
        return link | ({"next_chunk_index": index + 1} if index + 1 < len(chunks) else {})


def _chunks(statement: _Statement) -> list[pa.Table]:
    table, size = statement.result, statement.warehouse.chunk_rows
    if table is None:
        return []
    return [table.slice(start, size) for start in range(0, table.num_rows, size)]


def _arrow_stream(table: pa.Table) -> bytes:
    import pyarrow as pa

    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _parse_seconds(text: str) -> float:
    seconds = float(text.removesuffix("s"))
    if seconds != 0 and not 5 <= seconds <= 50:
        raise invalid_parameter("wait_timeout must be 0s, or from 5s to 50s.")
    return seconds


def _expiration() -> str:
    expiration = datetime.now(timezone.utc) + timedelta(minutes=_LINK_MINUTES)
    return expiration.isoformat().replace("+00:00", "Z")


def _text(cell: Any) -> str | None:
    return None if cell is None else str(cell)
