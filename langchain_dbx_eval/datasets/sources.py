"""What `EvalDataset.load` takes, in the order in which it is tried.

A source is a class with ``matches(source)`` and ``open(source)``; a new one is a class here and
its place in `SOURCES`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

from langchain_dbx_eval.datasets.local_catalog import LocalTable
from langchain_dbx_eval.datasets.names import TableName, looks_like_table_name
from langchain_dbx_eval.datasets.records import EvalRecord, read_records
from langchain_dbx_eval.errors import ConfigurationError, SchemaError

__all__ = ["SOURCES", "Opened", "open_source"]


class Opened(Protocol):
    """An opened source, pinned to one version of its content."""

    name: str | None
    """The table's name, where it has one."""

    description: str
    """Where the records come from, in words."""

    version: int | None
    """The Delta version that the records are read from, where there are versions."""

    errors: tuple[SchemaError, ...]
    """One for each row that is no record."""

    def records(self) -> Iterator[EvalRecord]:
        """The records, in order."""
        ...


class LocalTableSource:
    """A three-level name, looked up in the local catalog."""

    errors: tuple[SchemaError, ...] = ()

    def __init__(self, table: LocalTable) -> None:
        self.table = table
        self.name: str | None = str(table.name)
        self.description = f"local catalog, {table.path}"
        self.version: int | None = table.version()

    @staticmethod
    def matches(source: Any) -> bool:
        """Whether the source is such a name."""
        return isinstance(source, str) and looks_like_table_name(source)

    @classmethod
    def open(cls, source: str) -> LocalTableSource:
        """Open the newest version of the table.

        Raises:
            NotFoundError: There is no such table.
        """
        return cls(LocalTable.open(TableName.parse(source)))

    def records(self) -> Iterator[EvalRecord]:
        """See `Opened`."""
        return self.table.records(self.version or 0)


class RowsSource:
    """A list of dicts or records, or a pandas DataFrame."""

    name: str | None = None
    version: int | None = None

    def __init__(self, rows: Iterable[Any], description: str) -> None:
        self._records, errors = read_records(rows)
        self.errors = tuple(errors)
        self.description = description

    @staticmethod
    def matches(source: Any) -> bool:
        """Whether the source is a list or has DataFrame's ``to_dict``."""
        return isinstance(source, list | tuple) or _is_frame(source)

    @classmethod
    def open(cls, source: Any) -> RowsSource:
        """Read the rows."""
        if _is_frame(source):
            return cls(source.to_dict(orient="records"), "pandas DataFrame")
        return cls(source, "list of records")

    def records(self) -> Iterator[EvalRecord]:
        """See `Opened`."""
        return iter(self._records)


SOURCES = (LocalTableSource, RowsSource)


def open_source(source: Any) -> Opened:
    """Open whatever `EvalDataset.load` was given.

    Raises:
        ConfigurationError: It is nothing that a dataset can be read from.
    """
    for kind in SOURCES:
        if kind.matches(source):
            return kind.open(source)
    shown = repr(source) if isinstance(source, str) else f"a {type(source).__name__}"
    msg = (
        f"No dataset can be read from {shown}. Give a three-level name such as "
        "'main.default.questions', a list of dicts, or a pandas DataFrame."
    )
    raise ConfigurationError(msg)


def _is_frame(source: Any) -> bool:
    return (
        hasattr(source, "to_dict")
        and hasattr(source, "columns")
        and not isinstance(source, Mapping)
    )
