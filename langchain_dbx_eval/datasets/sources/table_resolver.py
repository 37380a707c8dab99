"""Where a three-level name is looked up: Spark, a SQL warehouse, cloud storage, or this machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from langchain_dbx_eval.datasets.databricks.credential_vending import VendedTable
from langchain_dbx_eval.datasets.databricks.managed_dataset import ManagedTable
from langchain_dbx_eval.datasets.databricks.spark import SparkEngine, active_session
from langchain_dbx_eval.datasets.databricks.sql_table import SqlTable
from langchain_dbx_eval.datasets.databricks.statement_execution import Warehouse
from langchain_dbx_eval.datasets.delta.local_catalog import LocalTable
from langchain_dbx_eval.datasets.open_dataset import LoadOptions, OpenDataset
from langchain_dbx_eval.datasets.record import EvalRecord
from langchain_dbx_eval.datasets.schema.table_name import TableName, looks_like_table_name
from langchain_dbx_eval.errors import ConfigurationError, NotFoundError

__all__ = ["NamedSource", "create_table"]


class NamedSource:
    """A three-level name, by the route asked for or the first that can."""

    @staticmethod
    def matches(source: Any) -> bool:
        """Whether the source is such a name."""
        return isinstance(source, str) and looks_like_table_name(source)

    @staticmethod
    def open(source: str, reach: LoadOptions) -> OpenDataset:
        """Open the table.

        Raises:
            NotFoundError: There is no such table.
            ConfigurationError: The name, or the route, cannot be used.
        """
        name = TableName.parse(source)
        route = _READERS.get(reach.backend or _reading_route(name, reach))
        if route is None:
            msg = (
                f"backend={reach.backend!r} is no route. Routes: {', '.join(map(repr, _READERS))}."
            )
            raise ConfigurationError(msg)
        return route(name, reach)


def create_table(name: TableName, records: Iterable[EvalRecord], reach: LoadOptions) -> OpenDataset:
    """Create a table, by the route asked for or the first that can.

    Raises:
        AlreadyExistsError: There is a table of this name.
        ConfigurationError: The route cannot be used, or cannot create.
    """
    route = _CREATORS.get(reach.backend or _creating_route(reach))
    if route is None:
        msg = f"backend={reach.backend!r} cannot create. Use {', '.join(map(repr, _CREATORS))}."
        raise ConfigurationError(msg)
    return route(name, records, reach)


def _reading_route(name: TableName, reach: LoadOptions) -> str:
    """The first route that can.

    The local catalog comes before the workspace's storage: what was created here, for want of a
    warehouse, is found here again.
    """
    if reach.warehouse_id is None and active_session() is not None and SparkEngine().has(name):
        return "spark"
    if _has_warehouse(reach):
        return "warehouse"
    if not LocalTable.exists(name) and _has_workspace(reach):
        return "delta"
    return "local"


def _creating_route(reach: LoadOptions) -> str:
    if _has_warehouse(reach):
        return "warehouse"
    # A session of one's own machine is no place to keep a dataset.
    return "spark" if _on_databricks() and active_session() is not None else "local"


def _has_warehouse(reach: LoadOptions) -> bool:
    return bool(reach.warehouse_id or os.environ.get("DATABRICKS_WAREHOUSE_ID"))


def _has_workspace(reach: LoadOptions) -> bool:
    names = ("DATABRICKS_HOST", "DATABRICKS_CONFIG_PROFILE")
    return reach.workspace_client is not None or any(os.environ.get(name) for name in names)


def _on_databricks() -> bool:
    return "DATABRICKS_RUNTIME_VERSION" in os.environ


def _read_by_spark(name: TableName, reach: LoadOptions) -> OpenDataset:
    engine = SparkEngine()
    if not engine.has(name):
        msg = f"{engine.where} sees no table {name}."
        raise NotFoundError(msg)
    return SqlTable(name, engine, reach.version)


def _read_by_warehouse(name: TableName, reach: LoadOptions) -> OpenDataset:
    warehouse = Warehouse(reach)
    try:
        return SqlTable(name, warehouse, reach.version)
    except NotFoundError as error:
        here = (
            " There is one in the local catalog: backend='local'."
            if LocalTable.exists(name)
            else ""
        )
        raise NotFoundError(f"{error}{here}", error_code=error.error_code) from error


_READERS: dict[str, Callable[[TableName, LoadOptions], OpenDataset]] = {
    "spark": _read_by_spark,
    "warehouse": _read_by_warehouse,
    "local": lambda name, reach: LocalTable.open(name, reach.version),
    "delta": VendedTable.open,
    "managed": ManagedTable.open,
}
_CREATORS: dict[str, Callable[[TableName, Iterable[EvalRecord], LoadOptions], OpenDataset]] = {
    "warehouse": lambda name, records, reach: SqlTable.create(name, records, Warehouse(reach)),
    "spark": lambda name, records, _: SqlTable.create(name, records, SparkEngine()),
    "local": lambda name, records, _: LocalTable.create(name, records),
    "managed": ManagedTable.create,
}
