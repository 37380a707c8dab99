"""Managed evaluation datasets: the REST calls of databricks-agents 1.13.

A dataset is a table with Databricks' columns, which the service reads and writes.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from langchain_dbx_eval.testing.errors import ApiError, bad_request
from langchain_dbx_eval.testing.faults import Denied, FaultQueue, LostAnswer, Unavailable
from langchain_dbx_eval.testing.lakehouse.tables import Lakehouse, Table

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ManagedDatasets"]

_USER = "you@example.com"

Row = dict[str, Any]


class ManagedDatasets:
    """The managed datasets of a workspace.

    Args:
        lakehouse: The tables.
        faults: The planned faults by dataset name; each affects one write.
    """

    def __init__(self, lakehouse: Lakehouse, faults: FaultQueue) -> None:
        self._lakehouse = lakehouse
        self._faults = faults

    def create(self, name: str) -> dict[str, Any]:
        """Create a dataset and its table.

        Raises:
            ApiError: The name is invalid or exists, or a fault is injected.
        """
        name = name.lower()
        if name.count(".") != 2:
            raise bad_request(f"Invalid table name: {name}")
        if name in self._lakehouse.tables:
            message = (
                f"TABLE_ALREADY_EXISTS: Failed to create UC table for dataset {name}. "
                f"TABLE_ALREADY_EXISTS: Table '{name}' already exists"
            )
            raise ApiError(400, "TABLE_ALREADY_EXISTS", message)

        def write() -> dict[str, Any]:
            table = self._lakehouse.add_table(name, _schema().empty_table())
            table.managed = "native"
            return _describe(table)

        return self._with_faults(name, write)

    def get(self, dataset_id: str) -> dict[str, Any]:
        """Return the description of a dataset.

        Raises:
            ApiError: It does not exist.
        """
        return _describe(self._find(dataset_id))

    def records(self, dataset_id: str, size: int, token: str | None) -> dict[str, Any]:
        """Return a page of records.

        Args:
            dataset_id: The id of the dataset.
            size: Records per page.
            token: The page token of the previous page; None: the first page.
        """
        with self._lakehouse.lock:
            rows = _rows(self._find(dataset_id))
        first = int(token or 0)
        page = {"dataset_records": [_record(row) for row in rows[first : first + size]]}
        has_more = first + size < len(rows)
        return page | ({"next_page_token": str(first + size)} if has_more else {})

    def add(self, dataset_id: str, records: list[Row]) -> dict[str, Any]:
        """Append one row per record."""
        new = [_row(record) for record in records]
        return self._change(dataset_id, lambda rows: [*rows, *new])

    def update(self, dataset_id: str, records: list[Row]) -> dict[str, Any]:
        """Replace the expectations and tags of records."""
        updates = {record["dataset_record_id"]: _row(record) for record in records}

        def update(row: Row) -> Row:
            new = updates.get(row["dataset_record_id"])
            if new is None:
                return row
            return {**row, **{k: new[k] for k in ("expectations", "tags", "last_update_time")}}

        return self._change(dataset_id, lambda rows: map(update, rows))

    def delete_records(self, dataset_id: str, ids: Collection[str]) -> dict[str, Any]:
        """Delete records by their ids."""

        def delete(rows: list[Row]) -> list[Row]:
            return [row for row in rows if row["dataset_record_id"] not in ids]

        return self._change(dataset_id, delete)

    def delete(self, dataset_id: str) -> dict[str, Any]:
        """Delete a dataset and its table."""
        name = self._find(dataset_id).name

        def write() -> dict[str, Any]:
            self._lakehouse.drop_table(name)
            return {}

        return self._with_faults(name, write)

    def _change(
        self, dataset_id: str, change: Callable[[list[Row]], Iterable[Row]]
    ) -> dict[str, Any]:
        import pyarrow as pa

        table = self._find(dataset_id)

        def write() -> dict[str, Any]:
            with self._lakehouse.lock:
                rows = list(change(_rows(table)))
                table.write(pa.Table.from_pylist(rows, _schema()), "overwrite")
            return {"dataset_records": []}

        return self._with_faults(table.name, write)

    def _with_faults(self, name: str, write: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        fault = self._faults.take(name, Unavailable, Denied)
        if isinstance(fault, Unavailable):
            raise ApiError(503, "TEMPORARILY_UNAVAILABLE", "Try again later.")
        if isinstance(fault, Denied):
            raise ApiError(403, "PERMISSION_DENIED", fault.message)
        answer = write()
        if self._faults.take(name, LostAnswer):
            raise ConnectionResetError
        return answer

    def _find(self, dataset_id: str) -> Table:
        for table in list(self._lakehouse.tables.values()):
            if table.table_id == dataset_id and table.managed:
                return table
        raise ApiError(404, "RESOURCE_DOES_NOT_EXIST", f"Dataset {dataset_id} does not exist.")


def _describe(table: Table) -> dict[str, Any]:
    described = table.describe()
    return {
        "dataset_id": table.table_id,
        "name": table.name,
        "source_type": "databricks-uc-table",
        "create_time": _time(described["created_at"] / 1000),
        "created_by": _USER,
        "last_update_time": _time(described["updated_at"] / 1000),
        "last_updated_by": _USER,
        "is_uc_native": table.managed == "native",
    }


def _row(record: Mapping[str, Any]) -> Row:
    now = datetime.now(timezone.utc)
    inputs = {pair["key"]: _as_protobuf(pair.get("value")) for pair in record["inputs"]}
    expectations = record.get("expectations") or {}
    values = {name: _as_protobuf(entry.get("value")) for name, entry in expectations.items()}
    return {
        "dataset_record_id": str(uuid.uuid4()),
        "create_time": now,
        "created_by": _USER,
        "last_update_time": now,
        "last_updated_by": _USER,
        "inputs": json.dumps(inputs),
        "expectations": json.dumps(values),
        "tags": record.get("tags") or {},
    }


def _record(row: Row) -> dict[str, Any]:
    inputs, expectations = json.loads(row["inputs"]), json.loads(row["expectations"] or "{}")
    return {
        "dataset_record_id": row["dataset_record_id"],
        "create_time": _time(row["create_time"].timestamp()),
        "created_by": row["created_by"],
        "last_update_time": _time(row["last_update_time"].timestamp()),
        "last_updated_by": row["last_updated_by"],
        "inputs": [{"key": name, "value": value} for name, value in inputs.items()],
        "expectations": {name: {"value": value} for name, value in expectations.items()},
        "tags": dict(row["tags"] or {}),
    }


def _rows(table: Table) -> list[Row]:
    import pyarrow as pa

    rows: list[Row] = pa.table(table.load().scan()).to_pylist()
    return rows


def _as_protobuf(value: Any) -> Any:
    """Convert a value as protobuf's `Value` does: all numbers are doubles."""
    if isinstance(value, dict):
        return {name: _as_protobuf(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_as_protobuf(inner) for inner in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _schema() -> pa.Schema:
    """Return the schema of the documentation's "Evaluation dataset reference"."""
    import pyarrow as pa

    text, timestamp = pa.string(), pa.timestamp("us", tz="UTC")
    source = {
        "human": {"user_name": text},
        "document": {"doc_uri": text, "content": text},
        "trace": {"trace_id": text},
    }
    return pa.schema(
        {
            "dataset_record_id": text,
            "create_time": timestamp,
            "created_by": text,
            "last_update_time": timestamp,
            "last_updated_by": text,
            "source": pa.struct({k: pa.struct(v) for k, v in source.items()}),
            "inputs": text,
            "expectations": text,
            "tags": pa.map_(text, text),
        }.items()
    )
