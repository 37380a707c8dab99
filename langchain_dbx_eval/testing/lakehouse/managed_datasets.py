"""The managed evaluation datasets of a workspace: the calls that databricks-agents 1.13 makes.

A dataset is a table with Databricks' columns, and its service reads and writes that table.
"""

from __future__ import annotations

import json
import uuid
import zlib
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from flask import Flask, request

from langchain_dbx_eval.testing.errors import Refusal, bad_request
from langchain_dbx_eval.testing.lakehouse.faults import Denied, LostAnswer, SqlFaults, Unavailable
from langchain_dbx_eval.testing.lakehouse.tables import Lakehouse, Table

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ManagedEvals", "add_managed_routes"]

# More in one request is refused by the service, as databricks-agents knows.
_LARGEST_BATCH = 2_000
_USER = "you@example.com"

Row = dict[str, Any]


class ManagedEvals:
    """The datasets of a workspace.

    Args:
        house: Its tables.
        faults: The faults still to come, by the dataset's name; each hits a request that writes.
    """

    def __init__(self, house: Lakehouse, faults: SqlFaults) -> None:
        self._house = house
        self._faults = faults

    def create(self, name: str) -> dict[str, Any]:
        """Create a dataset and its table."""
        name = name.lower()
        if name.count(".") != 2:
            raise bad_request(f"Invalid table name: {name}")
        if name in self._house.tables:
            message = (
                f"TABLE_ALREADY_EXISTS: Failed to create UC table for dataset {name}. "
                f"TABLE_ALREADY_EXISTS: Table '{name}' already exists"
            )
            raise Refusal(400, "TABLE_ALREADY_EXISTS", message)

        def make() -> dict[str, Any]:
            table = self._house.add_table(name, _schema().empty_table())
            table.managed = "native"
            return _describe(table)

        return self._written(name, make)

    def get(self, dataset_id: str) -> dict[str, Any]:
        """What there is to say of a dataset."""
        return _describe(self._find(dataset_id))

    def records(self, dataset_id: str, size: int, token: str | None) -> dict[str, Any]:
        """A page of records."""
        with self._house.lock:
            rows = _rows(self._find(dataset_id))
        first = int(token or 0)
        page = {"dataset_records": [_record(row) for row in rows[first : first + size]]}
        more = first + size < len(rows)
        return page | ({"next_page_token": str(first + size)} if more else {})

    def add(self, dataset_id: str, records: list[Row]) -> dict[str, Any]:
        """Add records, each as a row of its own."""
        new = [_row(record) for record in records]
        return self._change(dataset_id, lambda rows: [*rows, *new])

    def update(self, dataset_id: str, records: list[Row]) -> dict[str, Any]:
        """Replace expectations and tags of records."""
        given = {record["dataset_record_id"]: _row(record) for record in records}

        def change(row: Row) -> Row:
            new = given.get(row["dataset_record_id"])
            if new is None:
                return row
            return {**row, **{k: new[k] for k in ("expectations", "tags", "last_update_time")}}

        return self._change(dataset_id, lambda rows: map(change, rows))

    def _change(
        self, dataset_id: str, change: Callable[[list[Row]], Iterable[Row]]
    ) -> dict[str, Any]:
        import pyarrow as pa

        table = self._find(dataset_id)

        def write() -> dict[str, Any]:
            with self._house.lock:
                rows = list(change(_rows(table)))
                table.write(pa.Table.from_pylist(rows, _schema()), "overwrite")
            return {"dataset_records": []}

        return self._written(table.name, write)

    def _written(self, name: str, write: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        fault = self._faults.take(name, Unavailable, Denied)
        if isinstance(fault, Unavailable):
            raise Refusal(503, "TEMPORARILY_UNAVAILABLE", "Try again later.")
        if isinstance(fault, Denied):
            raise Refusal(403, "PERMISSION_DENIED", fault.message)
        answer = write()
        if self._faults.take(name, LostAnswer):
            raise ConnectionResetError
        return answer

    def _find(self, dataset_id: str) -> Table:
        for table in list(self._house.tables.values()):
            if table.table_id == dataset_id and table.managed:
                return table
        raise Refusal(404, "RESOURCE_DOES_NOT_EXIST", f"Dataset {dataset_id} does not exist.")


def add_managed_routes(app: Flask, service: ManagedEvals) -> None:
    """Add the service's routes to the workspace's app, and the experiments that it asks for."""
    base = "/api/2.0/managed-evals/datasets"

    @app.get("/api/2.0/mlflow/experiments/get")
    def get_experiment() -> dict[str, Any]:
        return _experiment(request.args.get("experiment_id", ""))

    @app.get("/api/2.0/mlflow/experiments/get-by-name")
    def get_experiment_by_name() -> dict[str, Any]:
        name = request.args.get("experiment_name", "")
        return _experiment(str(zlib.crc32(name.encode())), name)

    @app.post(base)
    def create_dataset() -> dict[str, Any]:
        return service.create(str(_body().get("name")))

    @app.get(f"{base}/<dataset_id>")
    def get_dataset(dataset_id: str) -> dict[str, Any]:
        return service.get(dataset_id)

    @app.get(f"{base}/<dataset_id>/records")
    def list_records(dataset_id: str) -> dict[str, Any]:
        size = request.args.get("page_size", 500, int)
        return service.records(dataset_id, size, request.args.get("page_token"))

    @app.post(f"{base}/<dataset_id>/records:batchCreate")
    def create_records(dataset_id: str) -> dict[str, Any]:
        return service.add(dataset_id, _batch())

    @app.post(f"{base}/<dataset_id>/records:batchUpdate")
    def update_records(dataset_id: str) -> dict[str, Any]:
        return service.update(dataset_id, _batch())


def _experiment(experiment_id: str, name: str | None = None) -> dict[str, Any]:
    """Every experiment that is asked for is there; none holds runs."""
    described = {"experiment_id": experiment_id, "name": name or f"/Shared/{experiment_id}"}
    return {"experiment": {**described, "lifecycle_stage": "active"}}


def _body() -> dict[str, Any]:
    body = request.get_json(silent=True)
    if not isinstance(body, dict):
        raise bad_request("Bad request: the body must be a JSON object.")
    return body


def _batch() -> list[Row]:
    records = [entry["dataset_record"] for entry in _body().get("requests", ())]
    if len(records) > _LARGEST_BATCH:
        raise bad_request(f"{len(records)} records are too many for one request.")
    return records


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
    held = {name: _as_protobuf(found.get("value")) for name, found in expectations.items()}
    return {
        "dataset_record_id": str(uuid.uuid4()),
        "create_time": now,
        "created_by": _USER,
        "last_update_time": now,
        "last_updated_by": _USER,
        "inputs": json.dumps(inputs),
        "expectations": json.dumps(held),
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
    """A value as protobuf's `Value` keeps it: every number is a double."""
    if isinstance(value, dict):
        return {name: _as_protobuf(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_as_protobuf(inner) for inner in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _schema() -> pa.Schema:
    """The columns of Databricks' evaluation datasets ("Evaluation dataset reference")."""
    import pyarrow as pa

    text, moment = pa.string(), pa.timestamp("us", tz="UTC")
    source = {
        "human": {"user_name": text},
        "document": {"doc_uri": text, "content": text},
        "trace": {"trace_id": text},
    }
    return pa.schema(
        {
            "dataset_record_id": text,
            "create_time": moment,
            "created_by": text,
            "last_update_time": moment,
            "last_updated_by": text,
            "source": pa.struct({k: pa.struct(v) for k, v in source.items()}),
            "inputs": text,
            "expectations": text,
            "tags": pa.map_(text, text),
        }.items()
    )
