"""The local catalog: Delta tables in a folder, under three-level names.

It stands in for Unity Catalog where there is no workspace. Every change is a Delta commit, so
readers see whole versions, and two writers at once cannot lose each other's records.
"""

from __future__ import annotations

import getpass
import json
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tenacity

from langchain_dbx_eval._extras import require
from langchain_dbx_eval.datasets.names import TableName
from langchain_dbx_eval.datasets.records import EvalRecord, record_key
from langchain_dbx_eval.errors import AlreadyExistsError, NotFoundError, SchemaError
from langchain_dbx_eval.home import catalog_root

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

__all__ = ["LocalTable"]

_KEY = "dataset_record_id"
_JSON_COLUMNS = ("inputs", "outputs", "expectations", "retrieved_context", "metadata")
# A commit that loses a race is read again and tried again; measured: 8 writers on one table need
# at most 104 tries (research/data.md, section 3).
_COMMIT_TRIES = 200


class LocalTable:
    """One table of evaluation records in the local catalog."""

    def __init__(self, name: TableName, root: Path) -> None:
        self.name = name
        self.path = name.folder(root)

    @classmethod
    def create(cls, name: TableName) -> LocalTable:
        """Create an empty table.

        Raises:
            AlreadyExistsError: There is a table of this name.
        """
        table = cls(name, catalog_root())
        deltalake = require("deltalake", extra="delta")
        if deltalake.DeltaTable.is_deltatable(str(table.path)):
            raise table._exists()
        table.path.mkdir(parents=True, exist_ok=True)
        try:
            deltalake.DeltaTable.create(str(table.path), _arrow_schema(), name=name.table)
        except deltalake.exceptions.DeltaError as error:
            # Another process was faster; Delta's own commit is what decides.
            raise table._exists() from error
        return table

    @classmethod
    def open(cls, name: TableName) -> LocalTable:
        """Open a table.

        Raises:
            NotFoundError: There is no table of this name; those that exist are listed.
        """
        table = cls(name, catalog_root())
        deltalake = require("deltalake", extra="delta")
        if not deltalake.DeltaTable.is_deltatable(str(table.path)):
            others = ", ".join(_tables(catalog_root())) or "none yet"
            msg = (
                f"There is no dataset {name} in the local catalog {catalog_root()}. "
                f"Create it with EvalDataset.create('{name}', records). Datasets there: {others}."
            )
            raise NotFoundError(msg)
        return table

    def version(self) -> int:
        """The newest version's number."""
        return self._delta().version()

    def records(self, version: int) -> Iterator[EvalRecord]:
        """The records of one version, in the order in which they were added.

        Raises:
            NotFoundError: The version's files are gone (vacuumed), or it never was.
        """
        for row in _rows(self._delta(version)):
            yield _record_of_row(row)

    def merge(self, records: Iterable[EvalRecord]) -> int:
        """Add records; the same inputs are one record, whose expectations are merged.

        As MLflow's datasets do it: on a record that is there already, new expectations are added,
        those of the same name are replaced, and outputs are replaced when given.

        Returns:
            The version that holds them all. Where nothing changes, nothing is written.
        """
        records = list(records)
        deltalake = require("deltalake", extra="delta")
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(deltalake.exceptions.CommitFailedError),
            stop=tenacity.stop_after_attempt(_COMMIT_TRIES),
            wait=tenacity.wait_random(0, 0.05),
            reraise=True,
        )
        return retrying(self._merge_once, records)

    def _merge_once(self, records: list[EvalRecord]) -> int:
        import pyarrow as pa

        table = self._delta()
        known = {row[_KEY]: row for row in _rows(table)}
        now = datetime.now(timezone.utc)
        changed: dict[str, dict[str, Any]] = {}
        for number, record in enumerate(records):
            # Rows are read back in order of their creation: a microsecond apart keeps that order.
            row = _row_of_record(record, now + timedelta(microseconds=number))
            before = changed.get(row[_KEY]) or known.get(row[_KEY])
            after = _merged(before, row) if before else row
            if after is not before:
                changed[row[_KEY]] = after
        if changed:
            source = pa.Table.from_pylist(list(changed.values()), schema=_arrow_schema())
            (
                table.merge(
                    source,
                    predicate=f"target.{_KEY} = source.{_KEY}",
                    source_alias="source",
                    target_alias="target",
                )
                .when_matched_update_all()
                .when_not_matched_insert_all()
                .execute()
            )
        return table.version()

    def _delta(self, version: int | None = None) -> DeltaTable:
        deltalake = require("deltalake", extra="delta")
        try:
            table: DeltaTable = deltalake.DeltaTable(str(self.path), version=version)
        except deltalake.exceptions.DeltaError as error:
            msg = f"Version {version} of dataset {self.name} is not there any more: {error}"
            raise NotFoundError(msg) from error
        return table

    def _exists(self) -> AlreadyExistsError:
        return AlreadyExistsError(
            f"The dataset {self.name} exists already at {self.path}. "
            f"Open it with EvalDataset.load('{self.name}') and add to it with merge_records()."
        )


def _tables(root: Path) -> list[str]:
    return sorted(".".join(log.parts[-4:-1]) for log in root.glob("*/*/*/_delta_log"))


def _arrow_schema() -> pa.Schema:
    """The columns of an MLflow evaluation dataset, and those of Agent Evaluation beside them."""
    require("pyarrow", extra="delta")
    import pyarrow as pa

    text, moment = pa.string(), pa.timestamp("us", tz="UTC")
    return pa.schema(
        [
            pa.field(_KEY, text, nullable=False),
            ("request_id", text),
            *((name, text) for name in _JSON_COLUMNS),
            ("create_time", moment),
            ("created_by", text),
            ("last_update_time", moment),
            ("last_updated_by", text),
        ]
    )


def _rows(table: DeltaTable) -> list[dict[str, Any]]:
    import pyarrow as pa

    # scan(), because to_pyarrow_table() aborts the process at exit (deltalake 1.6, seen in 2-10 of
    # 40 runs).
    rows = pa.table(table.scan()).to_pylist()
    return sorted(rows, key=lambda row: (row["create_time"], row[_KEY]))


def _row_of_record(record: EvalRecord, now: datetime) -> dict[str, Any]:
    values = {
        "inputs": record.inputs,
        "outputs": record.response,
        "expectations": record.expectations or None,
        "retrieved_context": record.retrieved_context,
        "metadata": record.metadata or None,
    }
    return {
        _KEY: record_key(record.request),
        "request_id": record.request_id,
        **{name: _to_json(value, name) for name, value in values.items()},
        "create_time": now,
        "created_by": getpass.getuser(),
        "last_update_time": now,
        "last_updated_by": getpass.getuser(),
    }


def _record_of_row(row: dict[str, Any]) -> EvalRecord:
    values = {name: json.loads(row[name]) for name in _JSON_COLUMNS if row[name] is not None}
    return EvalRecord.from_row({"request_id": row["request_id"], **values})


def _merged(before: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """The row after a merge; the very same object where the merge changes nothing."""
    after = dict(before)
    for name in ("outputs", "retrieved_context"):
        after[name] = new[name] if new[name] is not None else before[name]
    for name in ("expectations", "metadata"):
        both = {**json.loads(before[name] or "{}"), **json.loads(new[name] or "{}")}
        after[name] = _to_json(both or None, name)
    if after == before:
        return before
    stamps = ("last_update_time", "last_updated_by")
    return {**after, **{name: new[name] for name in stamps}}


def _to_json(value: Any, name: str) -> str | None:
    if value is None:
        return None
    try:
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    except (TypeError, ValueError, RecursionError) as error:
        msg = f"Column {name!r} holds something that JSON cannot: {error}."
        raise SchemaError(msg) from error
