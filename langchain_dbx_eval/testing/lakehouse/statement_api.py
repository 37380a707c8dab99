"""The Statement Execution API: statements and their states, chunks and the links to them."""

from __future__ import annotations

import io
import secrets
import threading
import time
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from langchain_dbx_eval.testing.errors import Refusal, invalid_parameter
from langchain_dbx_eval.testing.lakehouse.faults import (
    ExpiredLink,
    FailedStatement,
    LostAnswer,
    LostChunk,
    SlowStatement,
    SqlFaults,
    Unavailable,
)
from langchain_dbx_eval.testing.lakehouse.sql_dialect import SqlError, execute
from langchain_dbx_eval.testing.lakehouse.tables import Lakehouse, SqlWarehouse

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["LINKS", "SqlApi"]

LINKS = "/local-cloud-storage/"
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
    runs_since: float | None = None
    error: SqlError | None = None
    result: pa.Table | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def finished(self) -> bool:
        return self.state not in ("PENDING", "RUNNING")


class SqlApi:
    """The statements of a workspace."""

    def __init__(self, house: Lakehouse, faults: SqlFaults) -> None:
        self._house = house
        self._faults = faults
        self._statements: dict[str, _Statement] = {}
        self._links: dict[str, tuple[_Statement, int]] = {}

    def warehouse(self, warehouse_id: str) -> SqlWarehouse:
        """The warehouse of this id.

        Raises:
            Refusal: There is none, or the workspace is unavailable for it.
        """
        fault = self._faults.take(warehouse_id, Unavailable)
        if isinstance(fault, Unavailable):
            headers = {"Retry-After": f"{fault.retry_after:g}"}
            raise Refusal(503, "TEMPORARILY_UNAVAILABLE", "Try again later.", headers)
        found = self._house.warehouses.get(warehouse_id)
        if found is None:
            message = f"SQL warehouse {warehouse_id} does not exist."
            raise Refusal(404, "RESOURCE_DOES_NOT_EXIST", message)
        return found

    def submit(self, body: dict[str, Any], url: str) -> dict[str, Any]:
        """Take a statement, and answer when it is done or `wait_timeout` is over."""
        warehouse = self.warehouse(str(body.get("warehouse_id")))
        wait = _seconds(body.get("wait_timeout", "10s"))
        arrow = body.get("format") == "ARROW_STREAM"
        if arrow and body.get("disposition") != "EXTERNAL_LINKS":
            raise invalid_parameter("ARROW_STREAM needs the disposition EXTERNAL_LINKS.")
        slow = self._faults.take(warehouse.warehouse_id, SlowStatement)
        statement = _Statement(
            warehouse,
            str(body.get("statement")),
            {p["name"]: p.get("value") for p in body.get("parameters", [])},
            arrow,
            slow.seconds if isinstance(slow, SlowStatement) else 0.0,
        )
        self._statements[statement.statement_id] = statement
        # As on Databricks: a statement wakes its warehouse.
        warehouse.start()
        end = time.monotonic() + wait
        while not self._advance(statement).finished and time.monotonic() < end:
            time.sleep(_POLL_SECONDS)
        if self._faults.take(warehouse.warehouse_id, LostAnswer):
            raise ConnectionResetError
        return self._describe(statement, url)

    def get(self, statement_id: str, url: str) -> dict[str, Any]:
        """A statement's state, and its first chunk when it is done."""
        return self._describe(self._advance(self._find(statement_id)), url)

    def chunk(self, statement_id: str, index: int, url: str) -> dict[str, Any]:
        """A link to one chunk, anew."""
        return {"external_links": [self._link(self._find(statement_id), index, url)]}

    def cancel(self, statement_id: str) -> None:
        """End a statement."""
        statement = self._find(statement_id)
        if not statement.finished:
            statement.state = "CANCELED"

    def download(self, token: str) -> bytes:
        """A chunk's bytes, for whoever has its link.

        Raises:
            Refusal: The link is expired, or leads nowhere.
        """
        if token not in self._links:
            raise Refusal(404, "NoSuchKey", "The specified key does not exist.")
        statement, index = self._links[token]
        fault = self._faults.take(statement.warehouse.warehouse_id, ExpiredLink, LostChunk)
        if isinstance(fault, ExpiredLink):
            raise Refusal(403, "AccessDenied", "Request has expired")
        if isinstance(fault, LostChunk):
            raise Refusal(404, "NoSuchKey", "The specified key does not exist.")
        return _arrow_stream(_chunks(statement)[index])

    def _find(self, statement_id: str) -> _Statement:
        if statement_id not in self._statements:
            message = f"The statement {statement_id} was not found."
            raise Refusal(404, "RESOURCE_DOES_NOT_EXIST", message)
        return self._statements[statement_id]

    def _advance(self, statement: _Statement) -> _Statement:
        with statement.lock:
            if statement.finished or statement.warehouse.current() != "RUNNING":
                return statement
            statement.state = "RUNNING"
            now = time.monotonic()
            statement.runs_since = statement.runs_since or now
            if now - statement.runs_since >= statement.seconds:
                self._execute(statement)
        return statement

    def _execute(self, statement: _Statement) -> None:
        fault = self._faults.take(statement.warehouse.warehouse_id, FailedStatement)
        try:
            if isinstance(fault, FailedStatement):
                raise SqlError(fault.message, fault.sql_state or "")
            statement.result = execute(self._house, statement.sql, statement.parameters)
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
            "external_link": f"{url.rstrip('/')}{LINKS}{token}",
            "expiration": _in_minutes(_LINK_MINUTES),
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


def _seconds(text: str) -> float:
    seconds = float(text.removesuffix("s"))
    if seconds != 0 and not 5 <= seconds <= 50:
        raise invalid_parameter("wait_timeout must be 0s, or from 5s to 50s.")
    return seconds


def _in_minutes(minutes: int) -> str:
    moment = datetime.now(timezone.utc) + timedelta(minutes=minutes)
    return moment.isoformat().replace("+00:00", "Z")


def _text(cell: Any) -> str | None:
    return None if cell is None else str(cell)
