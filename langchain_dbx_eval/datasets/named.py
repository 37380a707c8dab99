"""Where a three-level name is looked up: Spark, a SQL warehouse, cloud storage, or this machine."""

from __future__ import annotations

from typing import Any

from langchain_dbx_eval.datasets.local_catalog import LocalTable
from langchain_dbx_eval.datasets.names import TableName, looks_like_table_name
from langchain_dbx_eval.datasets.opened import Opened, Reach
from langchain_dbx_eval.errors import ConfigurationError

__all__ = ["NamedSource", "create_table"]


class NamedSource:
    """A three-level name, by the route asked for or the first that can."""

    @staticmethod
    def matches(source: Any) -> bool:
        """Whether the source is such a name."""
        return isinstance(source, str) and looks_like_table_name(source)

    @staticmethod
    def open(source: str, reach: Reach) -> Opened:
        """Open the table.

        Raises:
            NotFoundError: There is no such table.
            ConfigurationError: The name, or the route, cannot be used.
        """
        return LocalTable.open(TableName.parse(source), reach.version)


def create_table(name: TableName, records: Any, reach: Reach) -> Opened:
    return LocalTable.create(name, records)
