"""The workspace's tables and warehouses: real Delta tables, asked by DuckDB in Databricks' SQL."""

from __future__ import annotations

import functools
import tempfile
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_dbx_eval._internal.extras import require
from langchain_dbx_eval.errors import AlreadyExistsError

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

    from langchain_dbx_eval.testing.lakehouse.volumes import Volumes

__all__ = ["Lakehouse", "SqlWarehouse", "Storage", "Table"]


@dataclass(frozen=True, slots=True)
class Storage:
    """Where tables lie.

    Attributes:
        root: A folder, or a URI such as ``s3://bucket/prefix``.
        options: deltalake's storage options for it; the credentials among them are what the
            workspace vends.
    """

    root: str
    options: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(slots=True)
class Table:
    """One table of the catalog.

    Attributes:
        managed: ``"native"`` or ``"legacy"`` where it is a managed evaluation dataset.
    """

    name: str
    location: str
    storage: Storage = field(repr=False)
    table_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    created_at: int = field(default_factory=lambda: int(time.time() * 1000))
    managed: str | None = None

    def load(self, version: int | None = None) -> DeltaTable:
        """The Delta table, at a version or the newest."""
        from deltalake import DeltaTable

        options = dict(self.storage.options)
        return DeltaTable(self.location, version=version, storage_options=options)

    def write(self, data: pa.Table, mode: Any) -> None:
        """Write a version."""
        from deltalake import write_deltalake

        options = dict(self.storage.options)
        write_deltalake(self.location, data, mode=mode, storage_options=options)

    def describe(self) -> dict[str, Any]:
        """The answer of ``GET /api/2.1/unity-catalog/tables/{name}``."""
        table = self.load()
        catalog, schema, name = self.name.split(".")
        return {
            "name": name,
            "catalog_name": catalog,
            "schema_name": schema,
            "full_name": self.name,
            "table_type": "MANAGED",
            "data_source_format": "DELTA",
            "columns": [
                {"name": f.name, "type_text": _type_text(f.type), "position": n}
                for n, f in enumerate(table.schema().fields)
            ],
            "storage_location": self.location,
            "table_id": self.table_id,
            "owner": "you@example.com",
            "created_by": "you@example.com",
            "created_at": self.created_at,
            "updated_at": table.history(1)[0]["timestamp"],
        }


@dataclass(slots=True)
class SqlWarehouse:
    """A SQL warehouse that can be asleep.

    Attributes:
        warehouse_id: Its id.
        state: ``RUNNING``, ``STOPPED`` or another state of Databricks'.
        start_seconds: How long it takes to start; None for never.
        start_failure: What it says instead of starting.
        chunk_rows: How many rows a chunk of a result has.
    """

    warehouse_id: str
    state: str = "RUNNING"
    start_seconds: float | None = 0.0
    start_failure: str | None = None
    chunk_rows: int = 1_000
    _started: float | None = None

    def start(self) -> None:
        """Begin to start, where it does not run."""
        if self._started is None and self.current() != "RUNNING":
            self._started = time.monotonic()

    def current(self) -> str:
        """The state of now."""
        if self._started is None:
            return self.state
        gone = time.monotonic() - self._started
        if self.start_seconds is None or gone < self.start_seconds:
            return "STARTING"
        return "STOPPED" if self.start_failure else "RUNNING"

    def describe(self) -> dict[str, Any]:
        """The answer of ``GET /api/2.0/sql/warehouses/{id}``."""
        state = self.current()
        failed = self._started is not None and state == "STOPPED"
        health = {"status": "FAILED", "summary": self.start_failure} if failed else {}
        return {
            "id": self.warehouse_id,
            "name": self.warehouse_id,
            "cluster_size": "2X-Small",
            "state": state,
            "health": health or {"status": "HEALTHY"},
        }


class Lakehouse:
    """All tables and warehouses of a workspace."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.tables: dict[str, Table] = {}
        self.warehouses: dict[str, SqlWarehouse] = {}
        self.storage: Storage | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def add_table(
        self, name: str, rows: Sequence[Mapping[str, Any]] | Any, storage: Storage | None = None
    ) -> Table:
        """Create a table of rows or of an Arrow table.

        Raises:
            AlreadyExistsError: There is a table of this name.
        """
        require("deltalake", extra="testing")
        import pyarrow as pa

        data = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(list(rows))
        with self.lock:
            if name in self.tables:
                msg = f"The workspace already has a table '{name}'."
                raise AlreadyExistsError(msg)
            storage = storage or self.storage or self._default_storage()
            location = "/".join([storage.root.rstrip("/"), *name.split(".")])
            table = Table(name, location, storage)
            table.write(data, "error")
            self.tables[name] = table
            return table

    @functools.cached_property
    def volumes(self) -> Volumes:
        """The volumes, which lie where tables do by default."""
        from langchain_dbx_eval.testing.lakehouse.volumes import Volumes

        return Volumes(Path(self._default_storage().root))

    def _default_storage(self) -> Storage:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="local-workspace-")
        return Storage(self._folder.name)


def _type_text(kind: Any) -> str:
    text = kind.type if hasattr(kind, "type") and isinstance(kind.type, str) else "struct"
    return {"long": "bigint", "integer": "int"}.get(text, text)
