"""Three-level names, and the backends that store their tables.

To add a backend, write a class with the members of `TableBackend` in `databricks/` or `delta/`, and
add it to `BACKENDS`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, TypeVar

from langchain_dbx_eval._internal.paths import catalog_root
from langchain_dbx_eval.datasets.base import LoadOptions, OpenDataset, SupportsCreate, TableBackend
from langchain_dbx_eval.datasets.databricks.credential_vending import VendedTable
from langchain_dbx_eval.datasets.databricks.managed_dataset import ManagedTable
from langchain_dbx_eval.datasets.databricks.spark import SparkTable, active_session
from langchain_dbx_eval.datasets.databricks.warehouse import WarehouseTable
from langchain_dbx_eval.datasets.delta.local_catalog import LocalTable
from langchain_dbx_eval.datasets.record import EvalRecord
from langchain_dbx_eval.datasets.schema.table_name import TableName, looks_like_table_name
from langchain_dbx_eval.errors import AlreadyExistsError, ConfigurationError, NotFoundError

__all__ = ["BACKENDS", "TableSource", "create_table", "writable_backend"]

# Without `backend=`, the first one that is the default for a table opens it. The local catalog
# precedes the workspace's storage, so that `load` finds a table that `create` stored there because
# no warehouse was configured.
BACKENDS: tuple[type[TableBackend], ...] = (
    SparkTable,
    WarehouseTable,
    LocalTable,
    VendedTable,
    ManagedTable,
)

_Backend = TypeVar("_Backend", bound=type[TableBackend])


class TableSource:
    """A three-level name."""

    accepts = "a three-level name such as 'main.default.questions'"

    @staticmethod
    def matches(source: Any, _: LoadOptions) -> bool:
        """See `DatasetSource`."""
        return isinstance(source, str) and looks_like_table_name(source)

    @classmethod
    def open(cls, source: str, options: LoadOptions) -> OpenDataset:
        """Open the table in the backend that the options select, or in the default one.

        Raises:
            ConfigurationError: The name is invalid, or the backend does not exist or cannot be
                used.
            NotFoundError: The table does not exist.
        """
        name = TableName.parse(source)
        if options.backend is not None:
            backend = _by_name(options.backend, BACKENDS)
        else:
            defaults = (backend for backend in BACKENDS if backend.is_default_for(name, options))
            backend = next(defaults, LocalTable)
        try:
            return backend.open(name, options)
        except NotFoundError as error:
            # Of the other places, in which the table may be.
            if backend is not LocalTable:
                error.add_advice(_local_advice(name))
            elif options.backend is None and not LocalTable.exists(name):
                error.add_advice(
                    "No workspace is configured; for one of its tables, set DATABRICKS_HOST and "
                    "DATABRICKS_TOKEN, or pass warehouse_id= or workspace_client=."
                )
            raise


def create_table(
    name: TableName, records: Iterable[EvalRecord], options: LoadOptions
) -> OpenDataset:
    """Create a table in the backend that the options select, or in the default one.

    Raises:
        AlreadyExistsError: A table of this name exists.
        ConfigurationError: The backend does not exist, cannot be used, or cannot create tables.
    """
    creators = [backend for backend in BACKENDS if issubclass(backend, SupportsCreate)]
    backend = options.backend or _default_creator(options).backend
    try:
        return _by_name(backend, creators).create(name, records, options)
    except AlreadyExistsError as error:
        # With the status and the code of Databricks' managed datasets, in the text too: existing
        # code looks for "400" there (databricks-agents 1.13 raises an HTTPError of requests).
        msg = (
            f"400 TABLE_ALREADY_EXISTS: The table {name} already exists. Open it with "
            f"EvalDataset.load('{name}'), or use get_or_create. ({error})"
        )
        raise AlreadyExistsError(
            msg, status_code=400, error_code="TABLE_ALREADY_EXISTS", target=error.target
        ) from error


def writable_backend(name: TableName, options: LoadOptions) -> str:
    """Return the backend to write a table with: that of the options, or the default one.

    That is where the table exists, or where it is created.

    Raises:
        ConfigurationError: The backend of the options cannot write tables.
    """
    writers = (SparkTable, WarehouseTable, LocalTable)
    if options.backend is not None:
        return _by_name(options.backend, writers).backend
    defaults = (writer for writer in writers if writer.is_default_for(name, options))
    return next(defaults, _default_creator(options)).backend


def _local_advice(name: TableName) -> str:
    if LocalTable.exists(name):
        return "The local catalog has it: backend='local'."
    if near := LocalTable.similar(str(name)):
        return f"The local catalog ({catalog_root()}) has {near}."
    return f"The local catalog ({catalog_root()}) does not have it either."


def _default_creator(options: LoadOptions) -> type[TableBackend]:
    if options.configured_warehouse_id is not None:
        return WarehouseTable
    # Not outside of Databricks, where the tables of a session are not permanent.
    is_on_databricks = "DATABRICKS_RUNTIME_VERSION" in os.environ
    return SparkTable if is_on_databricks and active_session() is not None else LocalTable


def _by_name(name: str, backends: Iterable[_Backend]) -> _Backend:
    by_name = {backend.backend: backend for backend in backends}
    if name not in by_name:
        names = ", ".join(map(repr, by_name))
        msg = f"backend={name!r} is not supported for this operation. Supported: {names}."
        raise ConfigurationError(msg)
    return by_name[name]
