"""Delta tables and SQL warehouses of the workspace, and the catalog of both."""

from __future__ import annotations

import functools
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_dbx_eval._internal.imports import require
from langchain_dbx_eval.errors import AlreadyExistsError
from langchain_dbx_eval.testing.lakehouse.volumes import Volumes

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

__all__ = ["Lakehouse", "SqlWarehouse", "Storage", "Table"]


@dataclass(frozen=True, slots=True)
class Storage:
    """Storage location of tables.

    Attributes:
        root: A folder, or a URI such as ``s3://bucket/prefix``.
        options: deltalake's storage options for it; the workspace vends the credentials in them.
    """

    root: str
    options: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(slots=True)
class Table:
    """One Delta table of the catalog.

    Attributes:
        name: The three-level name.
        location: The folder or URI.
        storage: The storage that contains it.
        table_id: The id in Unity Catalog.
        created_at: Milliseconds since the epoch.
        managed: ``"native"`` or ``"legacy"`` if it is a managed evaluation dataset, else None.
    """

    name: str
    location: str
    storage: Storage = field(repr=False)
    table_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    created_at: int = field(default_factory=lambda: int(time.time() * 1000))
    managed: str | None = None

    def load(self, version: int | None = None) -> DeltaTable:
        """Open the Delta table at a version; default: the latest."""
        from deltalake import DeltaTable

        options = dict(self.storage.options)
        return DeltaTable(self.location, version=version, storage_options=options)

    def write(self, data: pa.Table, mode: Any) -> None:
        """Write a new version; `mode` is that of `deltalake.write_deltalake`."""
        from deltalake import write_deltalake

        options = dict(self.storage.options)
        write_deltalake(self.location, data, mode=mode, storage_options=options)

    def describe(self) -> dict[str, Any]:
        """Return the answer of ``GET /api/2.1/unity-catalog/tables/{name}``."""
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
    """A SQL warehouse.

    Attributes:
        warehouse_id: The id.
        state: The state until it is started: ``RUNNING``, ``STOPPED`` or another one of Databricks.
        start_seconds: The duration of a start; None: it never ends.
        start_failure: The error with which a start ends; None: it succeeds.
        chunk_rows: Rows per chunk of a result.
    """

    warehouse_id: str
    state: str = "RUNNING"
    start_seconds: float | None = 0.0
    start_failure: str | None = None
    chunk_rows: int = 1_000
    _started: float | None = None

    def start(self) -> None:
        """Start the warehouse; without effect if it is running or starting."""
        if self._started is None and self.current_state() != "RUNNING":
            self._started = time.monotonic()

    def current_state(self) -> str:
        """Return the state at this moment."""
        if self._started is None:
            return self.state
        elapsed = time.monotonic() - self._started
        if self.start_seconds is None or elapsed < self.start_seconds:
            return "STARTING"
        return "STOPPED" if self.start_failure else "RUNNING"

    def describe(self) -> dict[str, Any]:
        """Return the answer of ``GET /api/2.0/sql/warehouses/{id}``."""
        state = self.current_state()
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
    """The tables, volumes and SQL warehouses of a workspace."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.tables: dict[str, Table] = {}
        self.warehouses: dict[str, SqlWarehouse] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def add_table(
        self, name: str, rows: Sequence[Mapping[str, Any]] | Any, storage: Storage | None = None
    ) -> Table:
        """Create a table.

        Args:
            name: The three-level name.
            rows: Dicts, or an Arrow table.
            storage: The storage location; default: a temporary folder.

        Raises:
            AlreadyExistsError: The table exists.
            MissingDependencyError: The extra ``testing`` is not installed.
        """
        require("deltalake", extra="testing")
        require("pyarrow", extra="testing")
        import pyarrow as pa

        data = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(list(rows))
        with self.lock:
            if name in self.tables:
                msg = f"The workspace already has a table '{name}'."
                raise AlreadyExistsError(msg)
            storage = storage or self._default_storage()
            location = "/".join([storage.root.rstrip("/"), *name.split(".")])
            table = Table(name, location, storage)
            table.write(data, "error")
            self.tables[name] = table
            return table

    def drop_table(self, name: str) -> None:
        """Remove a table from the catalog; the files of one in a folder are deleted."""
        with self.lock:
            shutil.rmtree(self.tables.pop(name).location, ignore_errors=True)

    @functools.cached_property
    def volumes(self) -> Volumes:
        """The volumes, in the default storage."""
        return Volumes(Path(self._default_storage().root))

    def _default_storage(self) -> Storage:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="local-workspace-")
        return Storage(self._folder.name)


def _type_text(field_type: Any) -> str:
    name = getattr(field_type, "type", None)
    text = name if isinstance(name, str) else "struct"
    return {"long": "bigint", "integer": "int"}.get(text, text)
