"""The local catalog: Delta tables in a folder, with three-level names.

It replaces Unity Catalog where there is no workspace. Each change is one Delta commit on the
version that was read, or is repeated: readers see complete versions, and writers do not overwrite
each other's records, even if a process is killed at any moment.
"""

from __future__ import annotations

import difflib
import shutil
import uuid
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_dbx_eval._internal.imports import require
from langchain_dbx_eval._internal.paths import catalog_root, create_private_folder
from langchain_dbx_eval._internal.retry import RetryPolicy
from langchain_dbx_eval.datasets.base import LoadOptions
from langchain_dbx_eval.datasets.delta.reader import (
    CREATED_BY,
    DeltaSource,
    arrow_schema_of,
    is_delta_folder,
    open_delta,
    scan,
    storage_errors,
)
from langchain_dbx_eval.datasets.delta.staging import arrow_schema, stage_rows, to_arrow
from langchain_dbx_eval.datasets.record import EvalRecord
from langchain_dbx_eval.datasets.schema.row_codec import (
    CONTENT_COLUMNS,
    KEY,
    Row,
    merge_by_key,
    merge_rows,
    user_name,
)
from langchain_dbx_eval.datasets.schema.table_name import TableName
from langchain_dbx_eval.errors import (
    AlreadyExistsError,
    ConfigurationError,
    NotFoundError,
    RequestTimeoutError,
    SchemaError,
)

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

__all__ = ["LocalTable", "list_tables", "no_retry_properties", "table_lock"]

# Writers are serialized by a lock, so commits conflict only where the lock has no effect (on some
# network drives); the table is then read and merged again.
_MAX_COMMIT_RETRIES = 199
_LOCK_TIMEOUT = 300
# Each commit adds one small file; above this number, a merge first compacts them.
_MAX_FILES = 100
# deltalake's default is 1,048,576. A writer holds a row group in memory; a reader can skip it.
_ROW_GROUP_ROWS = 20_000


class LocalTable(DeltaSource):
    """A table of evaluation records in the local catalog, at one version.

    Args:
        name: The table's name.
        path: The table's folder.
        version: The version; None: the newest.
    """

    backend = "local"

    def __init__(self, name: TableName, path: Path, version: int | None = None) -> None:
        label = f"the local catalog's dataset {name} at {path}"
        super().__init__(open_delta(str(path), version=version, label=label), label, str(name))
        self.description = f"local catalog, {path}"
        self.path = path
        self._name = name

    @classmethod
    def is_default_for(cls, name: TableName, _: LoadOptions) -> bool:
        """See `TableBackend`; existing tables of the local catalog."""
        return cls.exists(name)

    @classmethod
    def create(
        cls, name: TableName, records: Iterable[EvalRecord], _: LoadOptions | None = None
    ) -> LocalTable:
        """Create a table whose first version contains the records.

        Raises:
            AlreadyExistsError: A table of this name exists.
            SchemaError: A record cannot be stored; the table was not created.
        """
        deltalake = require("deltalake", extra="delta")
        path = name.folder(catalog_root())
        with stage_rows(records) as rows, table_lock(path):
            if is_delta_folder(path):
                raise _already_exists(name, path)
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
                # Without an effective lock, another process may have made the first commit.
                if is_delta_folder(path):
                    raise _already_exists(name, path) from error
                raise
        return cls(name, path)

    @classmethod
    def open(cls, name: TableName, options: LoadOptions) -> LocalTable:
        """Open a table at `options.version`, by default the newest.

        Raises:
            NotFoundError: The table does not exist (the message lists those that do), or the
                version does not.
        """
        path = name.folder(catalog_root())
        if not is_delta_folder(path):
            near = cls.similar(str(name))
            existing = list_tables()
            more = f" and {len(existing) - 20} more" if len(existing) > 20 else ""
            msg = (
                f"There is no dataset {name} in the local catalog {catalog_root()}. "
                f"{f'Did you mean {near}? ' if near else ''}"
                f"Create it with EvalDataset.create({str(name)!r}, records). "
                f"Existing datasets: {', '.join(existing[:20]) or 'none'}{more}."
            )
            raise NotFoundError(msg)
        return cls(name, path, options.version)

    @staticmethod
    def exists(name: TableName) -> bool:
        """Return whether a table of this name exists."""
        return is_delta_folder(name.folder(catalog_root()))

    @staticmethod
    def similar(name: str) -> str | None:
        """Return the existing names that are similar to one, for messages; None without any."""
        tables = list_tables()
        near = [t for t in tables if t.endswith(f".{name}")]
        for table in difflib.get_close_matches(name, tables, cutoff=0.75):
            # Names in the same schema are similar by their first two levels alone.
            found, wanted = table.rpartition(".")[2], name.rpartition(".")[2]
            if difflib.SequenceMatcher(None, found, wanted).ratio() > 0.6:
                near.append(table)
        return " or ".join(repr(table) for table in dict.fromkeys(near[:3])) or None

    def merge(self, records: Iterable[EvalRecord]) -> LocalTable:
        """Merge records into the newest version, by key.

        Nothing is written if nothing changes. More than 20,000 records are merged in batches, each
        of which is one version.

        Returns:
            The table at the version that contains all records.

        Raises:
            SchemaError: A record cannot be stored, or the table has another schema; nothing was
                merged.
            RequestTimeoutError: Another process holds the lock of the table.
        """
        policy = _commit_policy()
        with stage_rows(records) as rows, table_lock(self.path):
            version: int | None = None
            for batch in rows.batches():
                version = policy.run(partial(self._merge_batch, merge_by_key(batch)))
            return LocalTable(self._name, self.path, version)

    def delete_records(self, ids: Collection[str]) -> tuple[LocalTable, int]:
        """See `SupportsDelete`; one version, or none if there is nothing to delete.

        Raises:
            SchemaError: The table has another schema.
            RequestTimeoutError: Another process holds the lock of the table.
        """
        with table_lock(self.path):
            version, deleted = _commit_policy().run(partial(self._delete_batch, ids))
            return LocalTable(self._name, self.path, version), deleted

    def drop(self) -> None:
        """See `SupportsDelete`.

        Raises:
            SchemaError: The table has another schema.
            RequestTimeoutError: Another process holds the lock of the table.
        """
        # Moved first: a reader finds the whole table or none, also if this process is killed.
        trash = catalog_root() / ".deleted" / uuid.uuid4().hex
        with table_lock(self.path):
            _check_schema(open_delta(str(self.path), version=None, label=self.label), self.label)
            create_private_folder(trash.parent)
            self.path.rename(trash)
        for folder in trash.parent.iterdir():
            shutil.rmtree(folder, ignore_errors=True)

    def _delete_batch(self, ids: Collection[str]) -> tuple[int, int]:
        import pyarrow as pa
        import pyarrow.compute as pc

        table = open_delta(str(self.path), version=None, label=self.label)
        _check_schema(table, self.label)
        wanted = pa.array(ids, pa.string())
        batches = (batch[KEY].cast(pa.string()) for batch in scan(table, columns=[KEY]))
        found = pa.table(
            {KEY: pa.chunked_array([b.filter(pc.is_in(b, wanted)) for b in batches], pa.string())}
        )
        if len(found):
            _merge_builder(table, found).when_matched_delete().execute()
        return table.version(), len(found)

    def _merge_batch(self, incoming: dict[str, Row]) -> int:
        table = open_delta(str(self.path), version=None, label=self.label)
        _check_schema(table, self.label)
        changed, has_updates = dict(incoming), False
        for key, old in _existing_rows(table, incoming):
            merged = None if old is None else merge_rows(old, incoming[key])
            if merged is None or merged is old:
                changed.pop(key, None)
            else:
                changed[key], has_updates = merged, True
        if changed:
            if len(table.file_uris()) > _MAX_FILES:
                table.optimize.compact(writer_properties=_writer_properties())
            _commit(table, to_arrow(changed.values()), append=not has_updates)
        return table.version()


@contextmanager
def table_lock(path: Path) -> Iterator[None]:
    """Hold the lock of a table's writers; the system releases it if the process is killed.

    Args:
        path: The table's folder.

    Raises:
        RequestTimeoutError: Another process held the lock for 300 s.
    """
    filelock = require("filelock", extra="delta")
    try:
        create_private_folder(path.parent)
    except OSError as error:
        msg = f"The local catalog cannot be written to: {error}. DBX_EVAL_CATALOG sets its folder."
        raise ConfigurationError(msg) from error
    file = path.parent / f".{path.name}.lock"
    try:
        with filelock.FileLock(file, timeout=_LOCK_TIMEOUT, mode=0o600), storage_errors(str(path)):
            yield
    except filelock.Timeout as error:
        msg = (
            f"Another process has been writing to {path} for {_LOCK_TIMEOUT} s. Nothing was "
            f"written. Stop that process (it holds {file}), or retry."
        )
        raise RequestTimeoutError(msg) from error


def list_tables() -> list[str]:
    """Return the names of the tables in the local catalog, sorted."""
    logs = catalog_root().glob("*/*/*/_delta_log")
    return sorted(str(TableName(*log.parts[-4:-1])) for log in logs)


def _commit_policy() -> RetryPolicy:
    conflict = require("deltalake", extra="delta").exceptions.CommitFailedError
    return RetryPolicy(
        _MAX_COMMIT_RETRIES,
        is_retryable=lambda error: isinstance(error, conflict),
        initial_wait=0.05,
        max_wait=0.05,
    )


def _commit(table: DeltaTable, data: pa.Table, *, append: bool) -> None:
    """Write rows as the version that follows the loaded version of `table`, or fail."""
    if not append:
        merge = _merge_builder(table, data)
        merge.when_matched_update_all().when_not_matched_insert_all().execute()
        return
    require("deltalake", extra="delta").write_deltalake(
        table,
        data,
        mode="append",
        commit_properties=no_retry_properties(),
        writer_properties=_writer_properties(),
    )


def _merge_builder(table: DeltaTable, source: pa.Table) -> Any:
    return table.merge(
        source,
        predicate=f"target.{KEY} = source.{KEY}",
        source_alias="source",
        target_alias="target",
        commit_properties=no_retry_properties(),
        writer_properties=_writer_properties(),
    )


def no_retry_properties() -> Any:
    """Return deltalake's properties of a commit that fails if another writer committed first."""
    # Delta allows concurrent appends. Here they conflict: both could contain the same new key.
    return require("deltalake", extra="delta").CommitProperties(max_commit_retries=0)


def _writer_properties() -> Any:
    return require("deltalake", extra="delta").WriterProperties(max_row_group_size=_ROW_GROUP_ROWS)


def _existing_rows(table: DeltaTable, incoming: dict[str, Row]) -> Iterator[tuple[str, Row | None]]:
    """Iterate over the table's rows with incoming keys; None for a row with equal content.

    First only the keys are read, since most records are new. Then Arrow compares the rows, since
    most of the others are equal.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    new = to_arrow(incoming.values())
    keys = new[KEY].combine_chunks()
    has_any = any(
        pc.any(pc.is_in(batch[KEY].cast(pa.string()), value_set=keys)).as_py()
        for batch in scan(table, columns=[KEY])
    )
    if not has_any:
        return
    for batch in scan(table):
        old = batch.filter(pc.is_in(batch[KEY].cast(pa.string()), value_set=keys))
        is_equal = _equal_contents(old, new.take(pc.index_in(old[KEY], value_set=keys)))
        for key in old.filter(is_equal)[KEY].to_pylist():
            yield key, None
        for row in old.filter(pc.invert(is_equal)).to_pylist():
            yield row[KEY], row


def _equal_contents(old: pa.RecordBatch, new: pa.Table) -> pa.Array:
    """Return for each pair of rows whether `CONTENT_COLUMNS` are equal."""
    import pyarrow.compute as pc

    is_equal = pc.equal(old[KEY], old[KEY])
    for name in CONTENT_COLUMNS:
        left, right = old[name], new[name].combine_chunks()
        both_null = pc.and_(pc.is_null(left), pc.is_null(right))
        is_equal = pc.and_(is_equal, pc.or_(pc.fill_null(pc.equal(left, right), False), both_null))
    return is_equal


def _check_schema(table: DeltaTable, label: str) -> None:
    """Raise if the table has another schema, to which Delta would silently cast the values."""
    expected = {field.name: field.type for field in arrow_schema()}
    actual = {field.name: field.type for field in arrow_schema_of(table)}
    if expected != actual:
        different = sorted(
            name
            for name in expected.keys() | actual.keys()
            if expected.get(name) != actual.get(name)
        )
        msg = (
            f"Nothing was changed: {label} has another schema (columns {', '.join(different)}). "
            "It can be read. Copy it to change it: EvalDataset.create('a.new.name', dataset)."
        )
        raise SchemaError(msg)


def _already_exists(name: TableName, path: Path) -> AlreadyExistsError:
    return AlreadyExistsError(f"The dataset {name} already exists at {path}.")
