"""A Unity Catalog table by a SQL warehouse: read at one version, created, and grown by MERGE."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from langchain_dbx_eval.datasets.names import TableName
from langchain_dbx_eval.datasets.opened import Facts, Opened, Reach
from langchain_dbx_eval.datasets.records import EvalRecord
from langchain_dbx_eval.datasets.rows import (
    COLUMNS,
    JSON_COLUMNS,
    KEY,
    Row,
    decode,
    encode_all,
    merge_rows,
)
from langchain_dbx_eval.datasets.statements import Warehouse
from langchain_dbx_eval.datasets.unity import facts_of, table_info, workspace_client
from langchain_dbx_eval.datasets.warehouse import warehouse_id_of
from langchain_dbx_eval.errors import (
    DatabricksError,
    NotFoundError,
    PermissionDeniedError,
    SchemaError,
    WarehouseError,
)

if TYPE_CHECKING:
    from databricks.sdk.service.catalog import TableInfo

__all__ = ["WarehouseTable"]

# A statement with its parameters may have 16 MiB; the result of a MERGE is checked per part.
_PART_BYTES = 4 << 20
_MERGE_TRIES = 5
_ROW_TYPE = "ARRAY<STRUCT<" + ", ".join(f"{name}: {kind}" for name, kind in COLUMNS.items()) + ">>"


class WarehouseTable(Opened):
    """One table, pinned to the Delta version that was its newest when it was opened.

    Args:
        name: Its name.
        reach: Which warehouse, by which login, for how long, and which version.
        info: What Unity Catalog says of it, where that may be asked.
    """

    via = "warehouse"

    def __init__(self, name: TableName, reach: Reach, info: TableInfo | None) -> None:
        self._name = name
        self._reach = reach
        self._info = info
        self._warehouse = Warehouse(reach)
        self.name = str(name)
        self.version: int | None = self._newest() if reach.version is None else reach.version
        at = "a view, not pinned" if self.version is None else f"version {self.version}"
        self.description = f"SQL warehouse '{warehouse_id_of(reach)}', {name} ({at})"
        self._columns = self._read_columns()

    @classmethod
    def open(cls, name: TableName, reach: Reach) -> WarehouseTable:
        """Open a table.

        Raises:
            NotFoundError: There is no such table. No warehouse is started to find that out.
            WarehouseError: The warehouse did not start, or refused to read the table.
        """
        warehouse_id_of(reach)
        info = None
        with contextlib.suppress(PermissionDeniedError):
            info = table_info(workspace_client(reach), name)
        return cls(name, reach, info)

    @classmethod
    def create(
        cls, name: TableName, records: Iterable[EvalRecord], reach: Reach
    ) -> WarehouseTable:
        """Create a table with the documented columns of an evaluation dataset, and ours beside.

        Raises:
            AlreadyExistsError: There is a table of this name.
            WarehouseError: The warehouse did not start, or refused the statement.
        """
        rows = encode_all(records)
        columns = ", ".join(
            f"`{column}` {kind}" + (" NOT NULL" if column == KEY else "")
            for column, kind in COLUMNS.items()
        )
        comment = "Evaluation records (langchain-dbx-eval)"
        Warehouse(reach).run(f"CREATE TABLE {name.sql} ({columns}) COMMENT '{comment}'")
        return cls.open(name, reach)._merged(rows)

    def rows(self) -> Iterator[Mapping[str, Any]]:
        """See `Opened`; our own tables come in the order in which records were added."""
        order = f" ORDER BY create_time, {KEY}" if self._is_ours() else ""
        for batch in self._warehouse.query(f"SELECT * FROM {self._pinned()}{order}"):
            for row in batch.to_pylist(maps_as_pydicts="strict"):
                yield decode(row) if KEY in row else row

    def count(self) -> int | None:
        """See `Opened`; only our own tables are known to hold nothing but records."""
        if not self._is_ours():
            return None
        [batch] = self._warehouse.query(f"SELECT count(*) AS n FROM {self._pinned()}")
        return int(batch["n"][0].as_py())

    def facts(self) -> Facts:
        """See `Opened`."""
        return facts_of(self._info)

    def schema(self) -> dict[str, str]:
        """See `Opened`."""
        return self._columns

    def mlflow_source(self) -> Any:
        """See `Opened`."""
        from mlflow.data.delta_dataset_source import DeltaDatasetSource

        return DeltaDatasetSource(
            delta_table_name=self.name,
            delta_table_version=self.version,
            delta_table_id=self.facts().dataset_id,
        )

    def merge(self, records: Iterable[EvalRecord]) -> WarehouseTable:
        """Merge records into the newest version, keyed by their inputs.

        Raises:
            SchemaError: A record cannot be stored, or the table is not one of ours.
            WarehouseError: The warehouse refused, or others kept changing the same records.
        """
        rows = encode_all(records)
        if not self._is_ours():
            odd = sorted(self._columns.keys() ^ COLUMNS.keys())
            msg = (
                f"Nothing was merged: {self._name} is a table of another shape (columns "
                f"{', '.join(odd)}). It can be read. Where Databricks manages it as an MLflow "
                "dataset, merge with via='managed'; else copy it to a new table."
            )
            raise SchemaError(msg)
        return self._merged(rows)

    def _merged(self, rows: dict[str, Row]) -> WarehouseTable:
        for part in _parts(rows):
            self._merge_part(part)
        return WarehouseTable(self._name, replace(self._reach, version=None), self._info)

    def _merge_part(self, rows: dict[str, Row]) -> None:
        """Merge until nothing is left to change: so a lost answer, or a race, is no lost record."""
        refused: DatabricksError | None = None
        for _ in range(_MERGE_TRIES):
            known = {row[KEY]: row for row in self._known(list(rows))}
            changed = [
                after
                for key, row in rows.items()
                if (after := merge_rows(known[key], row) if key in known else row)
                is not known.get(key)
            ]
            if not changed:
                return
            try:
                self._warehouse.run(_merge_sql(self._name), rows=_to_json(changed, known))
            except WarehouseError as error:
                # Two MERGEs at once: Delta refuses one of them (ConcurrentAppendException, …).
                if "Concurrent" not in str(error) and "CONCURRENT" not in str(error):
                    raise
                refused = error
        msg = f"Others kept changing the same records of {self._name}. Try again."
        raise WarehouseError(
            msg, warehouse_id=warehouse_id_of(self._reach), state=str(refused or "")
        )

    def _known(self, keys: list[str]) -> Iterator[Row]:
        wanted = "SELECT explode(from_json(:keys, 'ARRAY<STRING>'))"
        sql = f"SELECT * FROM {self._name.sql} WHERE {KEY} IN ({wanted})"
        for batch in self._warehouse.query(sql, keys=json.dumps(keys)):
            yield from batch.to_pylist()

    def _is_ours(self) -> bool:
        return self._columns.keys() == COLUMNS.keys()

    def _pinned(self) -> str:
        if self.version is None:
            return self._name.sql
        return f"{self._name.sql} VERSION AS OF {int(self.version)}"

    def _newest(self) -> int | None:
        if self._info is not None and "VIEW" in str(self._info.table_type):
            return None
        history = self._warehouse.query(f"DESCRIBE HISTORY {self._name.sql} LIMIT 1")
        versions = [row["version"] for batch in history for row in batch.to_pylist()]
        if not versions:
            msg = f"{self._name} has no Delta history that you may read."
            raise NotFoundError(msg)
        return int(versions[0])

    def _read_columns(self) -> dict[str, str]:
        if self._info is not None and self._info.columns:
            return {str(c.name): str(c.type_text or "") for c in self._info.columns}
        batches = list(self._warehouse.query(f"SELECT * FROM {self._pinned()} LIMIT 1"))
        return {field.name: str(field.type) for batch in batches for field in batch.schema}


def _merge_sql(name: TableName) -> str:
    """The MERGE of rows in the parameter ``rows``; it may be sent twice.

    A row is replaced only where it still is as it was read, so that two writers do not undo each
    other; what is then left is merged in the next round.
    """
    changing = [column for column in COLUMNS if column not in (KEY, "create_time", "created_by")]
    settings = ", ".join(f"target.`{column}` = source.`{column}`" for column in changing)
    names = ", ".join(f"`{column}`" for column in COLUMNS)
    values = ", ".join(f"source.`{column}`" for column in COLUMNS)
    content = ("request_id", *JSON_COLUMNS)
    seen = ", ".join(f"seen_{column}: STRING" for column in content)
    row_type = _ROW_TYPE.removesuffix(">>") + f", {seen}>>"
    unchanged = " AND ".join(f"target.`{column}` <=> source.`seen_{column}`" for column in content)
    return (
        f"MERGE INTO {name.sql} AS target "
        f"USING (SELECT inline(from_json(:rows, '{row_type}'))) AS source "
        f"ON target.`{KEY}` = source.`{KEY}` "
        f"WHEN MATCHED AND {unchanged} THEN UPDATE SET {settings} "
        f"WHEN NOT MATCHED THEN INSERT ({names}) VALUES ({values})"
    )


def _to_json(changed: list[Row], known: Mapping[str, Row]) -> str:
    rows = []
    for row in changed:
        before = known.get(row[KEY], {})
        seen = {f"seen_{name}": before.get(name) for name in ("request_id", *JSON_COLUMNS)}
        rows.append({**row, **seen})
    return json.dumps(rows, ensure_ascii=False, default=_isoformat)


def _isoformat(moment: datetime) -> str:
    return moment.isoformat()


def _parts(rows: dict[str, Row]) -> Iterator[dict[str, Row]]:
    part: dict[str, Row] = {}
    size = 0
    for key, row in rows.items():
        # Twice: as it is to be, and as it was.
        more = 2 * sum(len(value) for value in row.values() if isinstance(value, str)) + 500
        if part and size + more > _PART_BYTES:
            yield part
            part, size = {}, 0
        part[key] = row
        size += more
    if part:
        yield part
