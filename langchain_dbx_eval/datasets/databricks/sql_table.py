"""A table that is read at one version, created and merged into by SQL."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from typing_extensions import Self

from langchain_dbx_eval.datasets.databricks.row_upload import RowUploader, UploadedRows
from langchain_dbx_eval.datasets.databricks.unity_catalog import UnityCatalogTable
from langchain_dbx_eval.datasets.record import EvalRecord
from langchain_dbx_eval.datasets.schema.mlflow_codec import from_table
from langchain_dbx_eval.datasets.schema.row_codec import (
    COLUMNS,
    CONTENT_COLUMNS,
    KEY,
    Row,
    encode_all,
    merge_by_key,
    merge_rows,
)
from langchain_dbx_eval.datasets.schema.table_name import TableName
from langchain_dbx_eval.datasets.schema.validation import decode_rows
from langchain_dbx_eval.errors import (
    AlreadyExistsError,
    DatabricksError,
    NotFoundError,
    PermissionDeniedError,
    SchemaError,
)

if TYPE_CHECKING:
    from databricks.sdk.service.catalog import TableInfo

__all__ = ["ERROR_BY_SQL_STATE", "SqlEngine", "SqlTable"]

ERROR_BY_SQL_STATE: dict[str, type[DatabricksError]] = {
    "42P01": NotFoundError,
    "42704": NotFoundError,
    "42P07": AlreadyExistsError,
    "42501": PermissionDeniedError,
}
"""Error classes by SQLSTATE (Databricks, "SQLSTATE error codes")."""

_MAX_MERGE_ROUNDS = 5
# About 2 MB of keys, as a parameter of each statement.
_MAX_DELETED_ROWS = 20_000
# The error conditions of DESCRIBE HISTORY on a table that is not a Delta table.
_WITHOUT_HISTORY = frozenset(
    {
        "DELTA_ONLY_OPERATION",
        "DELTA_TABLE_ONLY_OPERATION",
        "DELTA_OPERATION_NOT_ALLOWED",
        "EXPECT_TABLE_NOT_VIEW",
        "EXPECT_TABLE_NOT_VIEW.NO_ALTERNATIVE",
        "PARSE_SYNTAX_ERROR",
    }
)
# Each row of a MERGE also contains the content that it replaces.
_OLD_COLUMNS = {f"old_{name}": "STRING" for name in CONTENT_COLUMNS}


class SqlEngine(Protocol):
    """An executor of Databricks' SQL.

    Attributes:
        label: The engine, as a phrase for messages.
    """

    label: str

    def table_info(self, name: TableName) -> TableInfo | None:
        """Return Unity Catalog's metadata of a table; None if it is not available."""
        ...

    def query(self, sql: str, /, **parameters: str | None) -> Iterator[Any]:
        """Execute a query and stream its rows as dicts; see `read_batches` for the exception.

        Args:
            sql: The query, with parameters as ``:name``.
            **parameters: Their values, as strings.
        """
        ...

    def execute(self, sql: str, /, **parameters: str | None) -> None:
        """Execute a statement that may be repeated safely.

        Args:
            sql: The statement, with parameters as ``:name``.
            **parameters: Their values, as strings.
        """
        ...

    def uploader(self, size: int, /) -> RowUploader:
        """Return the uploader for rows of this total size in bytes."""
        ...


class SqlTable(UnityCatalogTable):
    """A table, pinned to the Delta version that was the newest when it was opened.

    Args:
        name: The table's name.
        engine: The executor of its SQL.
        version: The version to read; None: the newest.

    Raises:
        NotFoundError: The table does not exist. With a warehouse, Unity Catalog answers this
            without starting it.
    """

    def __init__(self, name: TableName, engine: SqlEngine, version: int | None = None) -> None:
        self._name = name
        self._engine = engine
        self._table_info = engine.table_info(name)
        self.name = str(name)
        self.version: int | None = self._newest_version() if version is None else version
        at = "without versions" if self.version is None else f"version {self.version}"
        self.description = f"{engine.label}, {name} ({at})"
        self._columns = self._read_columns()

    @classmethod
    def _create(cls, name: TableName, records: Iterable[EvalRecord], engine: SqlEngine) -> Self:
        """Create a table with the documented columns of an evaluation dataset, and this package's.

        Raises:
            AlreadyExistsError: A table of this name exists.
            DatabricksError: The engine rejected the statement.
        """
        rows = merge_by_key(encode_all(records))
        columns = ", ".join(
            f"`{column}` {type_}" + (" NOT NULL" if column == KEY else "")
            for column, type_ in COLUMNS.items()
        )
        comment = "Evaluation records (langchain-dbx-eval)"
        engine.execute(f"CREATE TABLE {name.sql} ({columns}) COMMENT '{comment}'")
        return cls(name, engine)._merge_all(rows) if rows else cls(name, engine)

    def rows(self) -> Iterator[Mapping[str, Any] | SchemaError]:
        """See `OpenDataset`; tables with this package's schema are sorted by time of creation."""
        order = f" ORDER BY create_time, {KEY}" if self._is_ours() else ""
        rows = self._engine.query(f"SELECT * FROM {self._pinned_sql()}{order}")  # noqa: S608 - quoted names, values are parameters
        return decode_rows(rows, from_table)

    def count(self) -> int | None:
        """See `OpenDataset`; tables of others may contain invalid rows."""
        if not self._is_ours():
            return None
        [row] = self._engine.query(f"SELECT count(*) AS n FROM {self._pinned_sql()}")  # noqa: S608 - quoted names, values are parameters
        return int(row["n"])

    def schema(self) -> dict[str, str]:
        """See `OpenDataset`."""
        return self._columns

    def merge(self, records: Iterable[EvalRecord]) -> Self:
        """Merge records into the newest version, by key.

        Raises:
            SchemaError: A record cannot be stored, or the table has another schema.
            DatabricksError: The engine rejected the statement, or other writers kept changing the
                same records.
        """
        rows = merge_by_key(encode_all(records))
        self._check_schema()
        return self._merge_all(rows)

    def delete_records(self, ids: Collection[str]) -> tuple[Self, int]:
        """See `SupportsDelete`.

        Raises:
            SchemaError: The table has another schema.
            DatabricksError: The engine rejected the statement.
        """
        self._check_schema()
        deleted, remaining = 0, iter(ids)
        while batch := list(itertools.islice(remaining, _MAX_DELETED_ROWS)):
            uploader = self._engine.uploader(0)
            with uploader.upload([{KEY: id_} for id_ in batch], {KEY: "STRING"}) as keys:
                found = sum(1 for _ in self._select(keys, KEY))
                if found:
                    self._engine.execute(_delete_sql(self._name, keys), **keys.parameters)
            deleted += found
        return type(self)(self._name, self._engine), deleted

    def drop(self) -> None:
        """See `SupportsDelete`.

        Raises:
            SchemaError: The table has another schema.
            DatabricksError: The engine rejected the statement.
        """
        self._check_schema()
        # IF EXISTS: a repetition after a lost response succeeds.
        self._engine.execute(f"DROP TABLE IF EXISTS {self._name.sql}")

    def _check_schema(self) -> None:
        if not self._is_ours():
            different = ", ".join(sorted(self._columns.keys() ^ COLUMNS.keys()))
            msg = (
                f"Nothing was changed: {self._name} has another schema (columns {different}). It "
                "can be read. If it is a managed dataset of MLflow, pass backend='managed'; "
                "otherwise copy it to a new table."
            )
            raise SchemaError(msg)

    def _merge_all(self, rows: dict[str, Row]) -> Self:
        uploader = self._engine.uploader(sum(map(_upload_bytes, rows.values())))
        for batch in _batches(rows, uploader.batch_bytes):
            self._merge_batch(batch, uploader)
        return type(self)(self._name, self._engine)

    def _merge_batch(self, rows: dict[str, Row], uploader: RowUploader) -> None:
        """Merge until nothing changes, so that a lost response or a conflict loses no record."""
        conflict: DatabricksError | None = None
        with uploader.upload([{KEY: key} for key in rows], {KEY: "STRING"}) as keys:
            for _ in range(_MAX_MERGE_ROUNDS):
                changed = list(_changed_rows(rows, {row[KEY]: row for row in self._select(keys)}))
                if not changed:
                    return
                try:
                    with uploader.upload(changed, {**COLUMNS, **_OLD_COLUMNS}) as source:
                        self._engine.execute(_merge_sql(self._name, source), **source.parameters)
                except DatabricksError as error:
                    # Delta rejects one of two concurrent MERGEs (ConcurrentAppendException, …).
                    if "Concurrent" not in str(error) and "CONCURRENT" not in str(error):
                        raise
                    conflict = error
        msg = f"Other writers kept changing the same records of {self._name}. Merge them again."
        raise DatabricksError(msg, retryable=True) from conflict

    def _select(self, keys: UploadedRows, columns: str = "*") -> Iterator[Row]:
        sql = f"SELECT {columns} FROM {self._name.sql} WHERE {KEY} IN ({keys.sql})"  # noqa: S608 - quoted names, values are parameters
        return self._engine.query(sql, **keys.parameters)

    def _is_ours(self) -> bool:
        return self._columns.keys() == COLUMNS.keys()

    def _pinned_sql(self) -> str:
        if self.version is None:
            return self._name.sql
        return f"{self._name.sql} VERSION AS OF {int(self.version)}"

    def _newest_version(self) -> int | None:
        """Return the newest version; None for a view or a table of another format."""
        try:
            history = list(self._engine.query(f"DESCRIBE HISTORY {self._name.sql} LIMIT 1"))
        except NotFoundError:
            raise
        except DatabricksError as error:
            if error.error_code in _WITHOUT_HISTORY:
                return None
            raise
        return int(history[0]["version"]) if history else None

    def _read_columns(self) -> dict[str, str]:
        if self._table_info is not None and self._table_info.columns:
            return {str(c.name): str(c.type_text or "") for c in self._table_info.columns}
        columns: dict[str, str] = {}
        for row in self._engine.query(f"DESCRIBE TABLE {self._name.sql}"):
            # An empty row and a section on partitions follow the columns.
            if not row["col_name"] or row["col_name"].startswith("#"):
                break
            columns[row["col_name"]] = row["data_type"]
        return columns


def _delete_sql(name: TableName, keys: UploadedRows) -> str:
    # A MERGE, because a DELETE of Sail (0.7.2) has no subqueries.
    return (
        f"MERGE INTO {name.sql} AS target USING ({keys.sql}) AS source "
        f"ON target.`{KEY}` = source.`{KEY}` WHEN MATCHED THEN DELETE"
    )


def _merge_sql(name: TableName, source: UploadedRows) -> str:
    """Return a MERGE of uploaded rows that may be repeated safely.

    A row is updated only if its content is still the one that was read, so that two writers do not
    overwrite each other; the remaining rows are merged in the next round.
    """
    updated = [column for column in COLUMNS if column not in (KEY, "create_time", "created_by")]
    assignments = ", ".join(f"`{column}` = source.`{column}`" for column in updated)
    names = ", ".join(f"`{column}`" for column in COLUMNS)
    values = ", ".join(f"source.`{column}`" for column in COLUMNS)
    is_unchanged = " AND ".join(
        f"target.`{name}` <=> source.`old_{name}`" for name in CONTENT_COLUMNS
    )
    clauses = (
        f"MERGE INTO {name.sql} AS target",
        f"USING ({source.sql}) AS source",
        f"ON target.`{KEY}` = source.`{KEY}`",
        f"WHEN MATCHED AND {is_unchanged} THEN UPDATE SET {assignments}",
        f"WHEN NOT MATCHED THEN INSERT ({names}) VALUES ({values})",  # noqa: S608 - quoted names, values are parameters
    )
    return " ".join(clauses)


def _changed_rows(rows: Mapping[str, Row], existing: Mapping[str, Row]) -> Iterator[Row]:
    """Iterate over the merged rows that differ from the table's, with the content they replace."""
    for key, row in rows.items():
        old = existing.get(key)
        merged = row if old is None else merge_rows(old, row)
        if merged is not old:
            yield {**merged, **{f"old_{name}": (old or {}).get(name) for name in CONTENT_COLUMNS}}


def _batches(rows: dict[str, Row], max_bytes: int) -> Iterator[dict[str, Row]]:
    batch: dict[str, Row] = {}
    size = 0
    for key, row in rows.items():
        row_bytes = _upload_bytes(row)
        if batch and size + row_bytes > max_bytes:
            yield batch
            batch, size = {}, 0
        batch[key] = row
        size += row_bytes
    if batch:
        yield batch


def _upload_bytes(row: Row) -> int:
    """Return the approximate size of a row in a MERGE, which contains its old content too."""
    return 2 * sum(len(value) for value in row.values() if isinstance(value, str)) + 500
