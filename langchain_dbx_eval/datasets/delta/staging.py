"""Rows that are encoded and validated before the first of them is written to a table.

One batch is kept in memory, and more than one on disk: a million records need no more memory than
20,000.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from langchain_dbx_eval._internal.imports import require
from langchain_dbx_eval.datasets.record import EvalRecord
from langchain_dbx_eval.datasets.schema.row_codec import (
    COLUMNS,
    KEY,
    Row,
    encode_all,
    merge_by_key,
    merge_rows,
)

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["StagedRows", "arrow_schema", "stage_rows", "to_arrow"]

_BATCH_ROWS = 20_000


class StagedRows:
    """Encoded rows, in the order of their records."""

    def __init__(self) -> None:
        self._rows: list[Row] = []
        self._file: IO[bytes] | None = None

    def batches(self) -> Iterator[list[Row]]:
        """Iterate over the rows in batches of up to 20,000, from the first on each call."""
        if self._rows:
            yield self._rows
        for batch in self._read_file():
            yield batch.to_pylist()

    def reader(self) -> pa.RecordBatchReader:
        """Return the rows as an Arrow stream, with rows of the same key merged."""
        import pyarrow as pa

        if self._file is None:
            return to_arrow(merge_by_key(self._rows).values()).to_reader()
        duplicates = self._find_duplicates()
        batches = self._merged_batches(duplicates) if duplicates else self._read_file()
        return pa.RecordBatchReader.from_batches(arrow_schema(), batches)

    def _read_file(self) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        if self._file is not None:
            self._file.seek(0)
            yield from pa.ipc.open_stream(self._file)

    def _find_duplicates(self) -> dict[str, list[Row]]:
        """Return the second and later rows of each duplicate key, by key."""
        # Half of a key, 128 bits, is as unique and needs half of the memory.
        seen: set[bytes] = set()
        duplicates: dict[str, list[Row]] = {}
        for batch in self._read_file():
            for index, key in enumerate(batch[KEY].to_pylist()):
                half = bytes.fromhex(key[:32])
                if half in seen:
                    [row] = batch.slice(index, 1).to_pylist()
                    duplicates.setdefault(key, []).append(row)
                seen.add(half)
        return duplicates

    def _merged_batches(self, duplicates: dict[str, list[Row]]) -> Iterator[pa.RecordBatch]:
        done: set[str] = set()
        for rows in self.batches():
            merged = []
            for row in rows:
                if row[KEY] in done:
                    continue
                for duplicate in duplicates.get(row[KEY], ()):
                    row = merge_rows(row, duplicate)
                if row[KEY] in duplicates:
                    done.add(row[KEY])
                merged.append(row)
            yield from to_arrow(merged).to_batches()

    def _fill(self, rows: Iterator[Row]) -> None:
        import pyarrow as pa

        batch = list(itertools.islice(rows, _BATCH_ROWS))
        following = list(itertools.islice(rows, _BATCH_ROWS))
        if not following:
            self._rows = batch
            return
        self._file = tempfile.TemporaryFile(prefix="dbx-eval-")  # noqa: SIM115 - stage_rows closes it
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with pa.ipc.new_stream(self._file, arrow_schema(), options=options) as writer:
            while batch:
                writer.write_table(to_arrow(batch))
                batch, following = following, list(itertools.islice(rows, _BATCH_ROWS))


@contextmanager
def stage_rows(records: Iterable[EvalRecord]) -> Iterator[StagedRows]:
    """Encode all records, and keep the rows until the end of the block.

    Raises:
        SchemaError: A record cannot be stored.
    """
    require("pyarrow", extra="delta")
    staged = StagedRows()
    try:
        staged._fill(encode_all(records))
        yield staged
    finally:
        if staged._file is not None:
            staged._file.close()


def to_arrow(rows: Iterable[Row], columns: Mapping[str, str] = COLUMNS) -> pa.Table:
    """Convert rows to an Arrow table with the `arrow_schema` of their columns."""
    import pyarrow as pa

    return pa.Table.from_pylist(list(rows), schema=arrow_schema(columns))


def arrow_schema(columns: Mapping[str, str] = COLUMNS) -> pa.Schema:
    """Return the Arrow schema of columns.

    Args:
        columns: SQL types by column, ``STRING``, ``TIMESTAMP``, ``DOUBLE`` or ``BIGINT``; default:
            those of this package's schema.
    """
    require("pyarrow", extra="delta")
    import pyarrow as pa

    types = {
        "STRING": pa.string(),
        "TIMESTAMP": pa.timestamp("us", tz="UTC"),
        "DOUBLE": pa.float64(),
        "BIGINT": pa.int64(),
    }
    return pa.schema(
        [pa.field(name, types[type_], nullable=name != KEY) for name, type_ in columns.items()]
    )
