"""A Delta table at one version: read as a stream, never written."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_dbx_eval._internal.imports import require
from langchain_dbx_eval.datasets.base import DatasetInfo, OpenDataset
from langchain_dbx_eval.datasets.schema.mlflow_codec import from_table
from langchain_dbx_eval.datasets.schema.row_codec import COLUMNS, KEY, ContentDigest, content_of
from langchain_dbx_eval.datasets.schema.validation import decode_rows
from langchain_dbx_eval.errors import DatabricksError, NotFoundError, SchemaError

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

__all__ = [
    "CREATED_BY",
    "DeltaSource",
    "arrow_schema_of",
    "is_delta_folder",
    "open_delta",
    "read_batches",
    "scan",
    "storage_errors",
]

# Stored in the table's description: deltalake rejects table properties that it does not define.
CREATED_BY = "Evaluation records, created by "

# Rows that are sorted in memory at once, about 50 MB.
_WINDOW_ROWS = 50_000
_COMMIT = re.compile(r"(\d{20})\.json")
_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint\b.*\.parquet")
# The shortest action is longer.
_MIN_COMMIT_BYTES = 8
_NOT_FOUND_PHRASES = ("not found", "no such file", "end version", "does not exist")


class DeltaSource(OpenDataset):
    """A Delta table at one version.

    Args:
        table: The table, loaded at that version.
        label: The table, as a phrase for messages.
        name: The table's three-level name, if it has one.
    """

    backend = "delta"

    def __init__(self, table: DeltaTable, label: str, name: str | None = None) -> None:
        self.table = table
        self.label = label
        self.name = name
        self.description = label
        self.version: int | None = table.version()

    def rows(self) -> Iterator[Mapping[str, Any] | SchemaError]:
        """See `OpenDataset`; tables with this package's schema are sorted by time of creation."""
        with storage_errors(self.label):
            batches = _scan_in_order(self.table) if self._is_ours() else scan(self.table)
            yield from decode_rows(read_batches(batches), from_table)

    def count(self) -> int | None:
        """See `OpenDataset`; tables of others may contain invalid rows."""
        if not self._is_ours():
            return None
        with storage_errors(self.label):
            count: int = self.table.count()
        return count

    def info(self) -> DatasetInfo:
        """See `OpenDataset`."""
        with storage_errors(self.label):
            # Of an earlier version, deltalake 1.6 returns the commits after it first.
            *_, commit = self.table.history(1)
        updated = datetime.fromtimestamp(commit["timestamp"] / 1000, timezone.utc)
        metadata = self.table.metadata()
        _, is_ours, user = (metadata.description or "").partition(CREATED_BY)
        return DatasetInfo(str(metadata.id), user if is_ours else None, updated)

    def schema(self) -> dict[str, str]:
        """See `OpenDataset`."""
        return {field.name: str(field.type) for field in arrow_schema_of(self.table)}

    def digest(self) -> str | None:
        """See `OpenDataset`; rows with this package's schema are hashed without decoding."""
        if not self._is_ours():
            return None
        digest = ContentDigest()
        with storage_errors(self.label):
            for batch in scan(self.table):
                for row in batch.to_pylist():
                    digest.add(content_of(row))
        return digest.hexdigest()

    def mlflow_source(self) -> Any:
        """See `OpenDataset`."""
        from langchain_dbx_eval.datasets.mlflow_input import PinnedDeltaSource

        return PinnedDeltaSource(path=self.table.table_uri, delta_table_version=self.version)

    def _is_ours(self) -> bool:
        return {field.name for field in self.table.schema().fields} == COLUMNS.keys()


def open_delta(
    location: str, *, version: int | None, label: str, options: dict[str, str] | None = None
) -> DeltaTable:
    """Load a Delta table at a version.

    Args:
        location: A folder or a cloud URI.
        version: The version; None: the newest.
        label: The table, as a phrase for messages.
        options: deltalake's storage options, which include credentials.

    Raises:
        NotFoundError: The version does not exist.
        DatabricksError: The table cannot be read, or a commit of a folder is damaged.
    """
    deltalake = require("deltalake", extra="delta")
    require("pyarrow", extra="delta")
    _check_commits(Path(location) / "_delta_log", version, label)
    with storage_errors(label, version):
        table: DeltaTable = deltalake.DeltaTable(location, version=version, storage_options=options)
    return table


def _check_commits(log: Path, version: int | None, label: str) -> None:
    """Raise if a commit of a folder was not written completely.

    deltalake 1.6 reads an empty commit as one without changes, and its records are missing without
    an error. A power failure, a full disk or an interrupted copy leaves such a file; the storage of
    a cloud does not.

    Args:
        log: The folder of the commits; nothing is checked if it does not exist, as for a URI.
        version: The version that is read; None: the newest.
        label: The table, as a phrase for messages.
    """
    if not log.is_dir():
        return
    last = sys.maxsize if version is None else version
    names = [entry.name for entry in log.iterdir()]
    checkpoints = [int(m[1]) for name in names if (m := _CHECKPOINT.fullmatch(name))]
    # A checkpoint contains the changes of all commits up to its own.
    first = max((found for found in checkpoints if found <= last), default=-1)
    commits = sorted((int(m[1]), name) for name in names if (m := _COMMIT.fullmatch(name)))
    for number, name in commits:
        if first < number <= last and _is_damaged(log / name):
            msg = (
                f"Cannot read {label}: its commit {log / name} is damaged, so the changes of "
                f"version {number} are unknown. Restore the file from a backup."
            )
            if number:
                msg += (
                    f" The version before it can be read: version={number - 1}. To give up the "
                    "changes of the damaged one, replace the content of the file by "
                    '{"commitInfo":{}}, and merge the records again.'
                )
            raise DatabricksError(msg)


def _is_damaged(commit: Path) -> bool:
    """Return whether a commit contains no action, or a line that is not one."""
    with commit.open("rb") as file:
        end = commit.stat().st_size
        if end < _MIN_COMMIT_BYTES:
            return True
        # A file that was cut, or whose blocks were not written, has no such end.
        file.seek(max(0, end - 100))
        return not file.read().rstrip().endswith(b"}")


def scan(table: DeltaTable, **arguments: Any) -> Iterator[pa.RecordBatch]:
    """Read a table's record batches, in no particular order.

    Args:
        table: The table.
        **arguments: ``columns`` and ``predicate`` of `DeltaTable.scan`. That method is used since
            `to_pyarrow_table` aborts the process at exit (deltalake 1.6, in 2 to 10 of 40 runs)
            and cannot read deletion vectors.
    """
    import pyarrow as pa

    for batch in pa.RecordBatchReader.from_stream(table.scan(**arguments)):
        # deltalake returns string views, which Arrow can neither sort nor filter.
        yield batch.cast(pa.schema([_without_view(field) for field in batch.schema]))


def read_batches(batches: Iterable[Any]) -> Iterator[dict[str, Any] | SchemaError]:
    """Read the rows of Arrow's batches or tables.

    Yields:
        Values by column, maps as dicts; or the error of a row with a value that Python cannot
        represent: a map with duplicate keys, or a date before the year 1.
    """
    number = 0
    for batch in batches:
        try:
            yield from batch.to_pylist(maps_as_pydicts="strict")
        except (KeyError, ValueError, OverflowError):
            for start in range(len(batch)):
                try:
                    [row] = batch.slice(start, 1).to_pylist(maps_as_pydicts="strict")
                except (KeyError, ValueError, OverflowError) as error:
                    row = SchemaError(f"Row {number + start} cannot be read: {error.args[0]}")
                yield row
        number += len(batch)


def is_delta_folder(path: Path) -> bool:
    """Return whether a folder is a Delta table."""
    return (path / "_delta_log").is_dir()


def arrow_schema_of(table: DeltaTable) -> pa.Schema:
    """Return a table's schema in Arrow's types."""
    import pyarrow as pa

    return pa.schema(table.schema().to_arrow())


@contextlib.contextmanager
def storage_errors(label: str, version: int | None = None) -> Iterator[None]:
    """Convert deltalake's errors to those of `langchain_dbx_eval.errors`.

    Args:
        label: The table, as a phrase for messages.
        version: The version that is opened, for messages.

    Raises:
        NotFoundError: The version, or one of its files, does not exist.
        DatabricksError: Any other error of the storage.
    """
    try:
        yield
    except DatabricksError:
        raise
    except Exception as error:
        # deltalake 1.6 raises its own errors, OSError, pyarrow's errors or bare Exception for the
        # same fault, depending on where it occurs.
        if not _is_storage_error(error):
            raise
        target = label if version is None else f"version {version} of {label}"
        reason = (str(error).splitlines() or [type(error).__name__])[0][:300]
        if any(phrase in str(error).lower() for phrase in _NOT_FOUND_PHRASES):
            msg = (
                f"Cannot read {target}: it does not exist, or its files were vacuumed. Load the "
                f"newest version, or a snapshot(). deltalake's error: {reason}"
            )
            raise NotFoundError(msg) from error
        msg = f"Cannot access {target}. deltalake's error: {reason}"
        raise DatabricksError(msg) from error


def _is_storage_error(error: Exception) -> bool:
    module = type(error).__module__ or ""
    return isinstance(error, OSError) or module.startswith(("_internal", "deltalake", "pyarrow"))


def _without_view(field: pa.Field) -> pa.Field:
    import pyarrow as pa

    plain = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}
    return field.with_type(plain.get(field.type, field.type))


def _scan_in_order(table: DeltaTable) -> Iterator[pa.Table]:
    """Read the rows by time of creation, in bounded memory.

    Only the times are sorted as a whole (8 bytes per row). Each window of them is then scanned
    separately, which skips the files and row groups outside of it.
    """
    import pyarrow as pa

    def scan_sorted(**arguments: Any) -> pa.Table:
        rows = pa.Table.from_batches(scan(table, **arguments), schema)
        return rows.sort_by([("create_time", "ascending"), (KEY, "ascending")])

    schema = arrow_schema_of(table)
    times = pa.table(table.scan(columns=["create_time"]))["create_time"]
    if len(times) <= _WINDOW_ROWS:
        yield scan_sorted()
        return
    window_starts = times.sort()[::_WINDOW_ROWS].unique()
    edges = [time.isoformat() for time in window_starts.to_pylist()]
    for low, high in zip(edges, [*edges[1:], None], strict=True):
        window = f"create_time >= '{low}'" + (f" and create_time < '{high}'" if high else "")
        yield scan_sorted(predicate=window)
