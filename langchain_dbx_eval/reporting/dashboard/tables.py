"""Tables of metrics: in the local catalog, in the active Spark session, in a SQL warehouse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

from langchain_dbx_eval._internal.imports import require
from langchain_dbx_eval._internal.paths import catalog_root
from langchain_dbx_eval.datasets.base import LoadOptions
from langchain_dbx_eval.datasets.databricks.spark import SparkEngine
from langchain_dbx_eval.datasets.databricks.sql_table import SqlEngine
from langchain_dbx_eval.datasets.databricks.warehouse import WarehouseEngine
from langchain_dbx_eval.datasets.delta.local_catalog import no_retry_properties, table_lock
from langchain_dbx_eval.datasets.delta.reader import (
    arrow_schema_of,
    is_delta_folder,
    open_delta,
    scan,
    storage_errors,
)
from langchain_dbx_eval.datasets.delta.staging import to_arrow
from langchain_dbx_eval.datasets.schema.row_codec import Row
from langchain_dbx_eval.datasets.schema.table_name import TableName
from langchain_dbx_eval.datasets.sources.table_resolver import writable_backend
from langchain_dbx_eval.errors import DatabricksError, NotFoundError
from langchain_dbx_eval.reporting.dashboard.forms import EncodedRun

__all__ = ["MetricsTable", "merge_sql", "open_table"]

_COMMENT = "Metrics of evaluations (langchain-dbx-eval)"


class MetricsTable(Protocol):
    """A table that rows of runs are written to.

    Attributes:
        description: The table and where it is stored, as a phrase for messages.
    """

    description: str

    def lock(self) -> AbstractContextManager[None]:
        """Hold the lock of the table's writers, if it has one."""
        ...

    def columns(self) -> dict[str, str] | None:
        """Return the types by column; None if the table does not exist."""
        ...

    def rows(self, key: Mapping[str, str] | None = None) -> Iterator[Row]:
        """Iterate over the rows.

        Args:
            key: A column and its value; None: all rows.
        """
        ...

    def write(
        self, run: EncodedRun, key: Mapping[str, str], existing: Mapping[str, str] | None
    ) -> None:
        """Write the rows of a run in one transaction, and add the columns that the table lacks.

        If the key is a ``run_id``, the rows replace those that the run has. Otherwise nothing is
        written if the run has rows.

        Args:
            run: The rows.
            key: The column that identifies the run, with its value.
            existing: The types of the table's columns; None: the table is created.
        """
        ...

    def is_conflict(self, error: BaseException) -> bool:
        """Return whether a write failed because of another writer, and may be repeated."""
        ...


def open_table(name: TableName, options: LoadOptions) -> MetricsTable:
    """Return a table in the backend that the options select, or in the default one.

    Raises:
        ConfigurationError: The backend does not exist, or cannot be used.
    """
    backend = writable_backend(name, options)
    if backend == "local":
        return LocalMetricsTable(name)
    engine = SparkEngine() if backend == "spark" else WarehouseEngine(options)
    return SqlMetricsTable(name, engine)


class LocalMetricsTable:
    """A table of the local catalog; see `MetricsTable`."""

    def __init__(self, name: TableName) -> None:
        self._name = name
        self._path = name.folder(catalog_root())
        self.description = f"{name} in the local catalog {catalog_root()}"

    def lock(self) -> AbstractContextManager[None]:
        """See `MetricsTable`."""
        return table_lock(self._path)

    def columns(self) -> dict[str, str] | None:
        """See `MetricsTable`."""
        if not is_delta_folder(self._path):
            return None
        fields = arrow_schema_of(self._open())
        return {field.name: str(field.type) for field in fields}

    def rows(self, key: Mapping[str, str] | None = None) -> Iterator[Row]:
        """See `MetricsTable`."""
        with storage_errors(self.description):
            predicate = {} if key is None else {"predicate": _condition(key)}
            for batch in scan(self._open(), **predicate):
                yield from batch.to_pylist()

    def write(
        self, run: EncodedRun, key: Mapping[str, str], existing: Mapping[str, str] | None
    ) -> None:
        """See `MetricsTable`; the lock is held, and a run without an id has no rows."""
        deltalake = require("deltalake", extra="delta")
        replaced: dict[str, Any] = {"mode": "append"}
        if existing is not None and "run_id" in existing and "run_id" in key:
            replaced = {"mode": "overwrite", "predicate": _condition(key)}
        deltalake.write_deltalake(
            self._path if existing is None else self._open(),
            to_arrow(run.rows, run.columns),
            schema_mode=None if existing is None else "merge",
            name=self._name.table if existing is None else None,
            description=_COMMENT if existing is None else None,
            commit_properties=no_retry_properties(),
            **replaced,
        )

    def is_conflict(self, error: BaseException) -> bool:
        """See `MetricsTable`; without effect of the lock, on some network drives."""
        conflict = require("deltalake", extra="delta").exceptions.CommitFailedError
        return isinstance(error, conflict)

    def _open(self) -> Any:
        return open_delta(str(self._path), version=None, label=self.description)


class SqlMetricsTable:
    """A table of Databricks; see `MetricsTable`."""

    def __init__(self, name: TableName, engine: SqlEngine) -> None:
        self._name = name
        self._engine = engine
        self.description = f"{name} ({engine.label})"

    def lock(self) -> AbstractContextManager[None]:
        """See `MetricsTable`; Delta rejects one of two conflicting commits."""
        return nullcontext()

    def columns(self) -> dict[str, str] | None:
        """See `MetricsTable`."""
        columns: dict[str, str] = {}
        try:
            for row in self._engine.query(f"DESCRIBE TABLE {self._name.sql}"):
                # An empty row and a section on partitions follow the columns.
                if not row["col_name"] or row["col_name"].startswith("#"):
                    break
                columns[row["col_name"]] = row["data_type"]
        except NotFoundError:
            return None
        return columns

    def rows(self, key: Mapping[str, str] | None = None) -> Iterator[Row]:
        """See `MetricsTable`."""
        sql = f"SELECT * FROM {self._name.sql}"  # noqa: S608 - quoted names
        for column in key or {}:
            sql += f" WHERE {_quote(column)} = :{column}"
        return self._engine.query(sql, **(key or {}))

    def write(
        self, run: EncodedRun, key: Mapping[str, str], existing: Mapping[str, str] | None
    ) -> None:
        """See `MetricsTable`."""
        if existing is None:
            # IF NOT EXISTS: another process may create it at the same time.
            columns = _definitions(run.columns)
            sql = f"CREATE TABLE IF NOT EXISTS {self._name.sql} ({columns}) COMMENT '{_COMMENT}'"
            self._engine.execute(sql)
            if (self.columns() or {}).keys() != run.columns.keys():
                msg = f"Concurrent writers created {self._name} with other columns."
                raise DatabricksError(msg, retryable=True)
        missing = {n: t for n, t in run.columns.items() if n not in (existing or run.columns)}
        if missing:
            self._add_columns(missing)
        # All values as text, which JSON and Parquet represent alike, in columns with plain names.
        names = {column: f"c{number}" for number, column in enumerate(run.columns)}
        rows = [{names[c]: _text(row.get(c)) for c in run.columns} for row in run.rows]
        uploader = self._engine.uploader(0)
        with uploader.upload(rows, dict.fromkeys(names.values(), "STRING")) as source:
            sql = merge_sql(self._name, run, key, source.sql)
            used = {n: value for n, value in key.items() if f":{n}" in sql}
            self._engine.execute(sql, **source.parameters, **used)

    def is_conflict(self, error: BaseException) -> bool:
        """See `MetricsTable`; ConcurrentAppendException, DELTA_CONCURRENT_APPEND and others."""
        is_ours = isinstance(error, DatabricksError)
        return is_ours and ("Concurrent" in str(error) or "CONCURRENT" in str(error))

    def _add_columns(self, missing: Mapping[str, str]) -> None:
        sql = f"ALTER TABLE {self._name.sql} ADD COLUMNS ({_definitions(missing)})"
        try:
            self._engine.execute(sql)
        except DatabricksError as error:
            if missing.keys() & (self.columns() or {}).keys():
                msg = f"Concurrent writers added the same columns to {self._name}."
                raise DatabricksError(msg, retryable=True) from error
            raise


def merge_sql(name: TableName, run: EncodedRun, key: Mapping[str, str], source: str) -> str:
    """Return a MERGE of the rows of a run that may be repeated safely.

    Args:
        name: The table.
        run: The rows; the source has their columns, in order, as text: ``c0``, ``c1`` and so on.
        key: The column that identifies the run; its value is a parameter of that name.
        source: The query that returns the rows.
    """
    values = {c: f"CAST(source.`c{n}` AS {t})" for n, (c, t) in enumerate(run.columns.items())}
    [column] = key
    conditions = [f"target.{_quote(column)} = {values[column]}"]
    if column == "run_id" and run.row_id is not None:
        conditions.append(f"target.{_quote(run.row_id)} = {values[run.row_id]}")
    clauses = [
        f"MERGE INTO {name.sql} AS target USING ({source}) AS source ON {' AND '.join(conditions)}",
        f"WHEN NOT MATCHED THEN INSERT ({', '.join(map(_quote, values))})",
        f"VALUES ({', '.join(values.values())})",
    ]
    if column == "run_id":
        assignments = ", ".join(f"{_quote(c)} = {value}" for c, value in values.items())
        clauses.insert(1, f"WHEN MATCHED THEN UPDATE SET {assignments}")
    if column == "run_id" and run.row_id is not None:
        clauses.append("WHEN NOT MATCHED BY SOURCE AND target.`run_id` = :run_id THEN DELETE")
    return " ".join(clauses)


def _definitions(columns: Mapping[str, str]) -> str:
    return ", ".join(f"{_quote(name)} {type_}" for name, type_ in columns.items())


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _condition(key: Mapping[str, str]) -> str:
    # deltalake has no parameters; in DataFusion's SQL, only the quote ends a text.
    [(column, value)] = key.items()
    quoted = value.replace("'", "''")
    return f"{column} = '{quoted}'"


def _quote(column: str) -> str:
    return "`" + column.replace("`", "``") + "`"
