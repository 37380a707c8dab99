"""Rows on their way into a table: all of them checked before the first is written.

One batch is kept in memory, and more of them on disk, so that a million records need no more
memory than twenty thousand.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from langchain_dbx_eval._internal.extras import require
from langchain_dbx_eval.datasets.record import EvalRecord
from langchain_dbx_eval.datasets.schema.row_codec import (
    COLUMNS,
    KEY,
    Row,
    by_key,
    encode_each,
    merge_rows,
)

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Spool", "arrow_rows", "arrow_schema", "spooled"]

_BATCH_ROWS = 20_000


class Spool:
    """Encoded rows, in the order in which they were given."""

    def __init__(self) -> None:
        self._rows: list[Row] = []
        self._file: IO[bytes] | None = None

    def parts(self) -> Iterator[list[Row]]:
        """The rows, batch by batch, each time anew."""
        if self._rows:
            yield self._rows
        for batch in self._read():
            yield batch.to_pylist()

    def reader(self) -> pa.RecordBatchReader:
        """The rows as a stream, in which those with the same inputs are one."""
        import pyarrow as pa

        if self._file is None:
            return arrow_rows(by_key(self._rows).values()).to_reader()
        later = self._repeated()
        batches = self._merged(later) if later else self._read()
        return pa.RecordBatchReader.from_batches(arrow_schema(), batches)

    def _read(self) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        if self._file is not None:
            self._file.seek(0)
            yield from pa.ipc.open_stream(self._file)

    def _repeated(self) -> dict[str, list[Row]]:
        """The rows whose inputs an earlier row has, by key."""
        # Half of the key says as much, and is half as long.
        seen: set[bytes] = set()
        later: dict[str, list[Row]] = {}
        for batch in self._read():
            for place, key in enumerate(batch[KEY].to_pylist()):
                short = bytes.fromhex(key[:32])
                if short in seen:
                    [row] = batch.slice(place, 1).to_pylist()
                    later.setdefault(key, []).append(row)
                seen.add(short)
        return later

    def _merged(self, later: dict[str, list[Row]]) -> Iterator[pa.RecordBatch]:
        done: set[str] = set()
        for rows in self.parts():
            merged = []
            for row in rows:
                if row[KEY] in done:
                    continue
                for more in later.get(row[KEY], ()):
                    row = merge_rows(row, more)
                if row[KEY] in later:
                    done.add(row[KEY])
                merged.append(row)
            yield from arrow_rows(merged).to_batches()

    def _fill(self, rows: Iterator[Row]) -> None:
        import pyarrow as pa

        part = list(itertools.islice(rows, _BATCH_ROWS))
        following = list(itertools.islice(rows, _BATCH_ROWS))
        if not following:
            self._rows = part
            return
        self._file = tempfile.TemporaryFile(prefix="dbx-eval-")  # noqa: SIM115 - spooled closes it
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with pa.ipc.new_stream(self._file, arrow_schema(), options=options) as writer:
            while part:
                writer.write_table(arrow_rows(part))
                part, following = following, list(itertools.islice(rows, _BATCH_ROWS))


@contextmanager
def spooled(records: Iterable[EvalRecord]) -> Iterator[Spool]:
    """Encode records, all of them, and hold them for the time of the block.

    Raises:
        SchemaError: A record cannot be stored.
    """
    require("pyarrow", extra="delta")
    spool = Spool()
    try:
        spool._fill(encode_each(records))
        yield spool
    finally:
        if spool._file is not None:
            spool._file.close()


def arrow_rows(rows: Iterable[Row]) -> pa.Table:
    """Rows as they lie in a table."""
    import pyarrow as pa

    return pa.Table.from_pylist(list(rows), schema=arrow_schema())


def arrow_schema() -> pa.Schema:
    """The columns of our tables in Arrow's types."""
    require("pyarrow", extra="delta")
    import pyarrow as pa

    types = {"STRING": pa.string(), "TIMESTAMP": pa.timestamp("us", tz="UTC")}
    return pa.schema(
        [pa.field(name, types[kind], nullable=name != KEY) for name, kind in COLUMNS.items()]
    )
