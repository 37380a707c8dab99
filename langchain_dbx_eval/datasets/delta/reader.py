"""Delta tables, read at one version: as a stream, in order where ours, and never written."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_dbx_eval._internal.extras import require
from langchain_dbx_eval.datasets.open_dataset import DatasetInfo, OpenDataset
from langchain_dbx_eval.datasets.schema.mlflow_codec import from_table
from langchain_dbx_eval.datasets.schema.row_codec import COLUMNS, KEY, Fingerprint, contents
from langchain_dbx_eval.errors import DatabricksError, NotFoundError

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

__all__ = ["CREATED_BY", "DeltaSource", "is_delta_folder", "open_delta", "scan", "storage_errors"]

# In the table's description: deltalake refuses properties that it does not know.
CREATED_BY = "Evaluation records, created by "

# Rows that are held in memory at once where they are put in order; some 50 MB.
_WINDOW = 50_000
_GONE = ("not found", "no such file", "end version", "does not exist")


class DeltaSource(OpenDataset):
    """A Delta table at one version.

    Args:
        table: The table, loaded at that version.
        where: The table in words, for messages.
    """

    backend = "delta"

    def __init__(self, table: DeltaTable, where: str, name: str | None = None) -> None:
        self.table = table
        self.where = where
        self.name = name
        self.description = where
        self.version: int = table.version()

    def rows(self) -> Iterator[Mapping[str, Any]]:
        """See `OpenDataset`; tables with our schema are read in insertion order."""
        for batch in self._batches():
            for row in batch.to_pylist():
                yield from_table(row)

    def count(self) -> int | None:
        """See `OpenDataset`; only our own tables are known to hold nothing but records."""
        return self._count() if self._is_ours() else None

    def facts(self) -> DatasetInfo:
        """See `OpenDataset`."""
        with storage_errors(self.where):
            [last] = self.table.history(1)
        moment = datetime.fromtimestamp(last["timestamp"] / 1000, timezone.utc)
        metadata = self.table.metadata()
        _, ours, user = (metadata.description or "").partition(CREATED_BY)
        return DatasetInfo(str(metadata.id), user if ours else None, moment)

    def schema(self) -> dict[str, str]:
        """See `OpenDataset`."""
        return {field.name: str(field.type) for field in _arrow_schema(self.table)}

    def digest(self) -> str | None:
        """See `OpenDataset`; our own rows are hashed as they lie, which is how records would be."""
        if not self._is_ours():
            return None
        fingerprint = Fingerprint()
        with storage_errors(self.where):
            for batch in scan(self.table):
                for row in batch.to_pylist():
                    fingerprint.add(contents(row))
        return fingerprint.hexdigest()

    def mlflow_source(self) -> Any:
        """See `OpenDataset`."""
        from langchain_dbx_eval.datasets.mlflow_input import DeltaSourceOfInput

        return DeltaSourceOfInput(path=self.table.table_uri, delta_table_version=self.version)

    def _is_ours(self) -> bool:
        return {field.name for field in self.table.schema().fields} == COLUMNS.keys()

    def _count(self) -> int:
        with storage_errors(self.where):
            count: int = self.table.count()
        return count

    def _batches(self) -> Iterator[pa.RecordBatch | pa.Table]:
        with storage_errors(self.where):
            yield from _in_order(self.table) if self._is_ours() else scan(self.table)


def open_delta(
    location: str, *, version: int | None, where: str, options: dict[str, str] | None = None
) -> DeltaTable:
    """Load a Delta table at a version.

    Args:
        location: A folder or a cloud URI.
        version: The version, or None for the newest.
        where: The table in words, for messages.
        options: deltalake's storage options, credentials among them.

    Raises:
        NotFoundError: There is no such version.
        DatabricksError: The table could not be read.
    """
    deltalake = require("deltalake", extra="delta")
    require("pyarrow", extra="delta")
    with storage_errors(where, version):
        table: DeltaTable = deltalake.DeltaTable(location, version=version, storage_options=options)
    return table


def scan(table: DeltaTable, **arguments: Any) -> Iterator[pa.RecordBatch]:
    """The table's record batches as they are read, in no order.

    By `DeltaTable.scan`: `to_pyarrow_table` aborts the process at its exit (deltalake 1.6, seen
    in 2 to 10 of 40 runs) and cannot read deletion vectors.
    """
    import pyarrow as pa

    for batch in pa.RecordBatchReader.from_stream(table.scan(**arguments)):
        # As plain strings: Arrow can neither sort nor filter the views that deltalake gives.
        yield batch.cast(pa.schema([_without_view(field) for field in batch.schema]))


def is_delta_folder(path: Path) -> bool:
    """Whether a folder holds a Delta table."""
    return (path / "_delta_log").is_dir()


@contextlib.contextmanager
def storage_errors(where: str, version: int | None = None) -> Iterator[None]:
    """Turn what deltalake raises into our errors.

    Raises:
        NotFoundError: A version, or a file of it, is not there.
        DatabricksError: Anything else.
    """
    try:
        yield
    except DatabricksError:
        raise
    except Exception as error:
        # deltalake 1.6 raises its own errors, OSError, pyarrow's and bare Exception for the same
        # fault, depending on where it meets it.
        if not _is_storage_error(error):
            raise
        at = "" if version is None else f"version {version} of "
        gone = any(sign in str(error).lower() for sign in _GONE)
        if gone:
            msg = (
                f"Cannot read {at}{where}: it never was, or its files have been vacuumed. "
                f"Load the newest version, or a snapshot(). deltalake says: {_first_line(error)}"
            )
            raise NotFoundError(msg) from error
        msg = f"{at}{where} cannot be used. deltalake says: {_first_line(error)}"
        raise DatabricksError(msg) from error


def _is_storage_error(error: Exception) -> bool:
    module = type(error).__module__ or ""
    return isinstance(error, OSError) or module.startswith(("_internal", "deltalake", "pyarrow"))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]


def _arrow_schema(table: DeltaTable) -> pa.Schema:
    import pyarrow as pa

    return pa.schema(table.schema().to_arrow())


def _without_view(field: pa.Field) -> pa.Field:
    import pyarrow as pa

    plain = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}
    return field.with_type(plain.get(field.type, field.type))


def _in_order(table: DeltaTable) -> Iterator[pa.Table]:
    """The rows by the time of their creation, in bounded memory.

    The times alone are sorted (8 bytes a row); each window of them is then a scan of its own,
    which skips the files and row groups outside.
    """
    import pyarrow as pa

    def ordered(**arguments: Any) -> pa.Table:
        rows = pa.Table.from_batches(scan(table, **arguments), schema)
        return rows.sort_by([("create_time", "ascending"), (KEY, "ascending")])

    schema = _arrow_schema(table)
    moments = pa.table(table.scan(columns=["create_time"]))["create_time"]
    if len(moments) <= _WINDOW:
        yield ordered()
        return
    firsts = moments.sort()[::_WINDOW].unique()
    edges = [moment.isoformat() for moment in firsts.to_pylist()]
    for low, high in zip(edges, [*edges[1:], None], strict=True):
        window = f"create_time >= '{low}'" + (f" and create_time < '{high}'" if high else "")
        yield ordered(predicate=window)
