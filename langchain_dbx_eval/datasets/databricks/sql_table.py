"""A table by SQL, of a warehouse or of Spark: read at one version, created, grown by MERGE."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from langchain_dbx_eval.datasets.databricks.row_upload import RowUploader, UploadedRows
from langchain_dbx_eval.datasets.databricks.unity_catalog import facts_of
from langchain_dbx_eval.datasets.open_dataset import DatasetInfo, OpenDataset
from langchain_dbx_eval.datasets.record import EvalRecord
from langchain_dbx_eval.datasets.schema.mlflow_codec import from_table
from langchain_dbx_eval.datasets.schema.row_codec import (
    COLUMNS,
    CONTENT,
    KEY,
    Row,
    encode_all,
    merge_rows,
)
from langchain_dbx_eval.datasets.schema.table_name import TableName
from langchain_dbx_eval.errors import DatabricksError, NotFoundError, SchemaError

if TYPE_CHECKING:
    from databricks.sdk.service.catalog import TableInfo

__all__ = ["SqlEngine", "SqlTable"]

_MERGE_TRIES = 5
# What Databricks and Spark call the statement on something that is no Delta table.
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
# With each row goes what it is to replace.
_SEEN = {f"seen_{name}": "STRING" for name in CONTENT}


class SqlEngine(Protocol):
    """What runs Databricks' SQL: a warehouse, or a Spark session."""

    backend: str
    where: str
    """The engine in words."""

    def table_info(self, name: TableName) -> TableInfo | None:
        """What Unity Catalog says of a table, where that may be asked."""
        ...

    def query(self, sql: str, /, **parameters: str | None) -> Iterator[dict[str, Any]]:
        """Ask, and read the rows as they come; values stand in the SQL as ``:name``."""
        ...

    def run(self, sql: str, /, **parameters: str | None) -> None:
        """Do, and wait until it is done. Only what may be done twice."""
        ...

    def carrier(self, size: int, /) -> RowUploader:
        """What brings rows of so many bytes to a statement."""
        ...


class SqlTable(OpenDataset):
    """One table, pinned to the Delta version that was its newest when it was opened.

    Args:
        name: Its name.
        engine: What asks for it.
        version: The version to read, or None for the newest.

    Raises:
        NotFoundError: There is no such table; no warehouse is woken to find that out.
    """

    def __init__(
        self,
        name: TableName,
        engine: SqlEngine,
        version: int | None = None,
    ) -> None:
        self._name = name
        self._engine = engine
        self._info = engine.table_info(name)
        self.backend = engine.backend
        self.name = str(name)
        self.version: int | None = self._newest() if version is None else version
        at = "without versions" if self.version is None else f"version {self.version}"
        self.description = f"{engine.where}, {name} ({at})"
        self._columns = self._read_columns()

    @classmethod
    def create(cls, name: TableName, records: Iterable[EvalRecord], engine: SqlEngine) -> SqlTable:
        """Create a table with the documented columns of an evaluation dataset, and ours beside.

        Raises:
            AlreadyExistsError: There is a table of this name.
            DatabricksError: The engine refused the statement.
        """
        rows = encode_all(records)
        columns = ", ".join(
            f"`{column}` {kind}" + (" NOT NULL" if column == KEY else "")
            for column, kind in COLUMNS.items()
        )
        comment = "Evaluation records (langchain-dbx-eval)"
        engine.run(f"CREATE TABLE {name.sql} ({columns}) COMMENT '{comment}'")
        return cls(name, engine)._merged(rows) if rows else cls(name, engine)

    def rows(self) -> Iterator[Mapping[str, Any]]:
        """See `OpenDataset`; our own tables come in the order in which records were added."""
        order = f" ORDER BY create_time, {KEY}" if self._is_ours() else ""
        for row in self._engine.query(f"SELECT * FROM {self._pinned()}{order}"):  # noqa: S608
            yield from_table(row)

    def count(self) -> int | None:
        """See `OpenDataset`; only our own tables are known to hold nothing but records."""
        if not self._is_ours():
            return None
        [row] = self._engine.query(f"SELECT count(*) AS n FROM {self._pinned()}")  # noqa: S608
        return int(row["n"])

    def facts(self) -> DatasetInfo:
        """See `OpenDataset`."""
        return facts_of(self._info)

    def schema(self) -> dict[str, str]:
        """See `OpenDataset`."""
        return self._columns

    def mlflow_source(self) -> Any:
        """See `OpenDataset`."""
        from langchain_dbx_eval.datasets.mlflow_input import DeltaSourceOfInput

        return DeltaSourceOfInput(
            delta_table_name=self.name,
            delta_table_version=self.version,
            delta_table_id=self.facts().dataset_id,
        )

    def merge(self, records: Iterable[EvalRecord]) -> SqlTable:
        """Merge records into the newest version, keyed by their inputs.

        Raises:
            SchemaError: A record cannot be stored, or the table is not one of ours.
            DatabricksError: The engine refused, or others kept changing the same records.
        """
        rows = encode_all(records)
        if not self._is_ours():
            odd = sorted(self._columns.keys() ^ COLUMNS.keys())
            msg = (
                f"Nothing was merged: {self._name} is a table of another shape (columns "
                f"{', '.join(odd)}). It can be read. Where Databricks manages it as an MLflow "
                "dataset, merge with backend='managed'; else copy it to a new table."
            )
            raise SchemaError(msg)
        return self._merged(rows)

    def _merged(self, rows: dict[str, Row]) -> SqlTable:
        carrier = self._engine.carrier(sum(map(_size, rows.values())))
        for part in _parts(rows, carrier.part_bytes):
            self._merge_part(part, carrier)
        return SqlTable(self._name, self._engine)

    def _merge_part(self, rows: dict[str, Row], carrier: RowUploader) -> None:
        """Merge until nothing is left to change: so a lost answer, or a race, is no lost record."""
        refused: DatabricksError | None = None
        with carrier.carry([{KEY: key} for key in rows], {KEY: "STRING"}) as keys:
            for _ in range(_MERGE_TRIES):
                changed = list(_changed(rows, {row[KEY]: row for row in self._known(keys)}))
                if not changed:
                    return
                try:
                    with carrier.carry(changed, {**COLUMNS, **_SEEN}) as source:
                        self._engine.run(_merge_sql(self._name, source), **source.parameters)
                except DatabricksError as error:
                    # Two MERGEs at once: Delta refuses one of them (ConcurrentAppendException, …).
                    if "Concurrent" not in str(error) and "CONCURRENT" not in str(error):
                        raise
                    refused = error
        msg = f"Others kept changing the same records of {self._name}. Merge them again."
        raise DatabricksError(msg, retryable=True) from refused

    def _known(self, keys: UploadedRows) -> Iterator[Row]:
        sql = f"SELECT * FROM {self._name.sql} WHERE {KEY} IN ({keys.sql})"  # noqa: S608
        return self._engine.query(sql, **keys.parameters)

    def _is_ours(self) -> bool:
        return self._columns.keys() == COLUMNS.keys()

    def _pinned(self) -> str:
        if self.version is None:
            return self._name.sql
        return f"{self._name.sql} VERSION AS OF {int(self.version)}"

    def _newest(self) -> int | None:
        """The newest version, or None for what has none: a view, or another format."""
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
        if self._info is not None and self._info.columns:
            return {str(c.name): str(c.type_text or "") for c in self._info.columns}
        described = self._engine.query(f"DESCRIBE TABLE {self._name.sql}")
        columns: dict[str, str] = {}
        for row in described:
            # After the columns come an empty line and a section on partitions.
            if not row["col_name"] or row["col_name"].startswith("#"):
                break
            columns[row["col_name"]] = row["data_type"]
        return columns


def _merge_sql(name: TableName, source: UploadedRows) -> str:
    """The MERGE of rows; it may be sent twice.

    A row is replaced only where it still is as it was read, so that two writers do not undo each
    other; what is then left is merged in the next round.
    """
    changing = [column for column in COLUMNS if column not in (KEY, "create_time", "created_by")]
    settings = ", ".join(f"`{column}` = source.`{column}`" for column in changing)
    names = ", ".join(f"`{column}`" for column in COLUMNS)
    values = ", ".join(f"source.`{column}`" for column in COLUMNS)
    unchanged = " AND ".join(f"target.`{name}` <=> source.`seen_{name}`" for name in CONTENT)
    parts = (
        f"MERGE INTO {name.sql} AS target",
        f"USING ({source.sql}) AS source",
        f"ON target.`{KEY}` = source.`{KEY}`",
        f"WHEN MATCHED AND {unchanged} THEN UPDATE SET {settings}",
        f"WHEN NOT MATCHED THEN INSERT ({names}) VALUES ({values})",  # noqa: S608
    )
    return " ".join(parts)


def _changed(rows: Mapping[str, Row], known: Mapping[str, Row]) -> Iterator[Row]:
    """The rows that the merge would change, each with the content that it was read with."""
    for key, row in rows.items():
        before = known.get(key)
        after = row if before is None else merge_rows(before, row)
        if after is not before:
            yield {**after, **{f"seen_{name}": (before or {}).get(name) for name in CONTENT}}


def _parts(rows: dict[str, Row], limit: int) -> Iterator[dict[str, Row]]:
    part: dict[str, Row] = {}
    size = 0
    for key, row in rows.items():
        more = _size(row)
        if part and size + more > limit:
            yield part
            part, size = {}, 0
        part[key] = row
        size += more
    if part:
        yield part


def _size(row: Row) -> int:
    """Bytes of a row on its way, roughly: as it is to be, and as it was."""
    return 2 * sum(len(value) for value in row.values() if isinstance(value, str)) + 500
