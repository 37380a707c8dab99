"""The local catalog: Delta tables in a folder, under three-level names.

It stands in for Unity Catalog where there is no workspace. Every change is one Delta commit on
the version that was read, or it is done again: readers see whole versions, and writers cannot lose
each other's records, whenever one of them is killed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_dbx_eval._internal.extras import require
from langchain_dbx_eval._internal.paths import catalog_root
from langchain_dbx_eval._internal.retry import RetryPolicy
from langchain_dbx_eval.datasets.delta.reader import (
    CREATED_BY,
    DeltaSource,
    is_delta_folder,
    open_delta,
    scan,
    storage_errors,
)
from langchain_dbx_eval.datasets.delta.staging import arrow_rows, arrow_schema, spooled
from langchain_dbx_eval.datasets.record import EvalRecord
from langchain_dbx_eval.datasets.schema.row_codec import (
    CONTENT,
    KEY,
    Row,
    by_key,
    merge_rows,
    user_name,
)
from langchain_dbx_eval.datasets.schema.table_name import TableName
from langchain_dbx_eval.errors import (
    AlreadyExistsError,
    NotFoundError,
    RequestTimeoutError,
    SchemaError,
)

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

__all__ = ["COMMIT_TRIES", "LocalTable", "table_lock", "tables"]

# Writers take turns by a lock, so a commit loses a race only where the lock does not reach (a
# network drive); it is then read again and tried again.
COMMIT_TRIES = 200
_LOCK_SECONDS = 300
# One small file for each commit: beyond this many, a merge first makes one of them.
_MANY_FILES = 100
# Rows; deltalake's own is 1,048,576.
_ROW_GROUP = 20_000


class LocalTable(DeltaSource):
    """One table of evaluation records in the local catalog, at one version."""

    backend = "local"

    def __init__(self, name: TableName, path: Path, version: int | None = None) -> None:
        where = f"the local catalog's dataset {name} at {path}"
        super().__init__(open_delta(str(path), version=version, where=where), where, str(name))
        self.description = f"local catalog, {path}"
        self.path = path
        self._name = name

    @classmethod
    def create(cls, name: TableName, records: Iterable[EvalRecord] = ()) -> LocalTable:
        """Create a table; it has its first records from its first moment.

        Raises:
            AlreadyExistsError: There is a table of this name.
            SchemaError: A record cannot be stored; nothing has been created then.
        """
        deltalake = require("deltalake", extra="delta")
        path = name.folder(catalog_root())
        with spooled(records) as rows, table_lock(path):
            if is_delta_folder(path):
                raise _exists(name, path)
            try:
                deltalake.write_deltalake(
                    path,
                    rows.reader(),
                    mode="error",
                    writer_properties=_writer_properties(),
                    name=name.table,
                    description=f"{CREATED_BY}{user_name()}",
                )
            except deltalake.exceptions.DeltaError as error:
                # Where the lock does not reach, Delta's own commit is what decides.
                if is_delta_folder(path):
                    raise _exists(name, path) from error
                raise
        return cls(name, path)

    @classmethod
    def open(cls, name: TableName, version: int | None = None) -> LocalTable:
        """Open a table at a version, or at its newest.

        Raises:
            NotFoundError: There is no table of this name (those that exist are listed), or no
                such version.
        """
        path = name.folder(catalog_root())
        if not is_delta_folder(path):
            msg = (
                f"There is no dataset {name} in the local catalog {catalog_root()}. "
                f"Create it with EvalDataset.create('{name}', records). "
                f"Datasets there: {', '.join(tables()) or 'none yet'}."
            )
            raise NotFoundError(msg)
        return cls(name, path, version)

    @staticmethod
    def exists(name: TableName) -> bool:
        """Whether there is a table of this name."""
        return is_delta_folder(name.folder(catalog_root()))

    def merge(self, records: Iterable[EvalRecord]) -> LocalTable:
        """Merge records into the newest version; the same inputs are one record.

        Where nothing changes, nothing is written. Beyond 20,000 they are merged in parts, each a
        version.

        Returns:
            The table at the version that holds them all.

        Raises:
            SchemaError: A record cannot be stored, or the table is not one of ours; nothing has
                been added then.
            RequestTimeoutError: Other processes kept the table locked all the time.
        """
        deltalake = require("deltalake", extra="delta")
        lost_race = deltalake.exceptions.CommitFailedError
        policy = RetryPolicy(
            COMMIT_TRIES - 1,
            is_retryable=lambda error: isinstance(error, lost_race),
            initial_wait=0.05,
            max_wait=0.05,
        )
        with spooled(records) as rows, table_lock(self.path):
            version: int | None = None
            for part in rows.parts():
                version = policy.run(partial(self._merge_once, by_key(part)))
            return LocalTable(self._name, self.path, version)

    def _merge_once(self, incoming: dict[str, Row]) -> int:
        table = open_delta(str(self.path), version=None, where=self.where)
        _check_schema(table, self.where)
        changed, replaced = dict(incoming), False
        for key, before in _known_rows(table, incoming):
            after = None if before is None else merge_rows(before, incoming[key])
            if after is None or after is before:
                changed.pop(key, None)
            else:
                changed[key], replaced = after, True
        if changed:
            if len(table.file_uris()) > _MANY_FILES:
                table.optimize.compact(writer_properties=_writer_properties())
            _commit(table, arrow_rows(changed.values()), only_new=not replaced)
        return table.version()


def tables() -> list[str]:
    """The names of all tables in the local catalog."""
    logs = catalog_root().glob("*/*/*/_delta_log")
    return sorted(str(TableName(*log.parts[-4:-1])) for log in logs)


def _commit(table: DeltaTable, data: pa.Table, *, only_new: bool) -> None:
    """Write rows as the version right after the one that `table` was read at, or fail."""
    deltalake = require("deltalake", extra="delta")
    # Delta lets appends pass each other. Ours must not: two could bring the same new key.
    properties = deltalake.CommitProperties(max_commit_retries=0)
    if only_new:
        deltalake.write_deltalake(
            table,
            data,
            mode="append",
            commit_properties=properties,
            writer_properties=_writer_properties(),
        )
        return
    (
        table.merge(
            data,
            predicate=f"target.{KEY} = source.{KEY}",
            source_alias="source",
            target_alias="target",
            commit_properties=properties,
            writer_properties=_writer_properties(),
        )
        .when_matched_update_all()
        .when_not_matched_insert_all()
        .execute()
    )


def _writer_properties() -> Any:
    """A row group is what is held in memory to be written, and what a reader can skip."""
    return require("deltalake", extra="delta").WriterProperties(max_row_group_size=_ROW_GROUP)


def _known_rows(table: DeltaTable, incoming: dict[str, Row]) -> Iterator[tuple[str, Row | None]]:
    """The table's rows of the incoming keys, or None for one that says the very same.

    First the keys alone are read, for most are new; then Arrow compares, for most of the others
    are the same.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    ours = arrow_rows(incoming.values())
    keys = ours[KEY].combine_chunks()
    found = any(
        pc.any(pc.is_in(batch[KEY].cast(pa.string()), value_set=keys)).as_py()
        for batch in scan(table, columns=[KEY])
    )
    if not found:
        return
    for batch in scan(table):
        theirs = batch.filter(pc.is_in(batch[KEY].cast(pa.string()), value_set=keys))
        same = _same_contents(theirs, ours.take(pc.index_in(theirs[KEY], value_set=keys)))
        for key in theirs.filter(same)[KEY].to_pylist():
            yield key, None
        for row in theirs.filter(pc.invert(same)).to_pylist():
            yield row[KEY], row


def _same_contents(one: pa.RecordBatch, other: pa.Table) -> pa.Array:
    """For each pair of rows, whether they are equal in all but their bookkeeping."""
    import pyarrow.compute as pc

    same = pc.equal(one[KEY], one[KEY])
    for name in CONTENT:
        theirs, ours = one[name], other[name].combine_chunks()
        both_null = pc.and_(pc.is_null(theirs), pc.is_null(ours))
        same = pc.and_(same, pc.or_(pc.fill_null(pc.equal(theirs, ours), False), both_null))
    return same


def _check_schema(table: DeltaTable, where: str) -> None:
    """Refuse to write where a value would be cast, which Delta does without a word."""
    ours = {field.name: field.type for field in arrow_schema()}
    theirs = {field.name: field.type for field in _schema_of(table)}
    if ours != theirs:
        odd = sorted(name for name in ours.keys() | theirs.keys() if _differs(name, ours, theirs))
        msg = (
            f"Nothing was merged: {where} is a table of another shape (columns {', '.join(odd)}). "
            "It can be read. To grow it, copy it: EvalDataset.create('a.new.name', dataset)."
        )
        raise SchemaError(msg)


def _differs(name: str, ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    return ours.get(name) != theirs.get(name)


def _schema_of(table: DeltaTable) -> pa.Schema:
    import pyarrow as pa

    return pa.schema(table.schema().to_arrow())


@contextmanager
def table_lock(path: Path) -> Iterator[None]:
    """Take turns with the other writers of a table; the system frees a killed one's lock."""
    filelock = require("filelock", extra="delta")
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.parent / f".{path.name}.lock"
    try:
        with filelock.FileLock(file, timeout=_LOCK_SECONDS), storage_errors(str(path)):
            yield
    except filelock.Timeout as error:
        msg = (
            f"Another process has been writing to {path} for {_LOCK_SECONDS} s. Nothing was "
            f"written. End it (it holds {file}), or try again."
        )
        raise RequestTimeoutError(msg) from error


def _exists(name: TableName, path: Path) -> AlreadyExistsError:
    return AlreadyExistsError(
        f"The dataset {name} exists already at {path}. "
        f"Open it with EvalDataset.load('{name}') and add to it with merge_records()."
    )
