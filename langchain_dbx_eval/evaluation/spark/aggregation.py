"""The summary of an evaluation, computed in one task by the functions of the local engine.

The task reads the rows as a stream, sorts them in a file, and returns the summary alone: the driver
receives one row.
"""

from __future__ import annotations

import contextlib
import json
import pickle
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.evaluation.journal import codec
from langchain_dbx_eval.evaluation.journal.rows import Row, RowKey
from langchain_dbx_eval.scoring.aggregates import (
    Failures,
    RecordKey,
    RowResult,
    Summary,
    summarize,
)
from langchain_dbx_eval.scoring.score_row import row_scores

if TYPE_CHECKING:
    import pyarrow

__all__ = ["decode_result", "summarize_frame"]

_COLUMNS = ["number", "repetition", "answer", "outputs"]


def summarize_frame(
    frame: Any, columns: Sequence[str], *, cluster: RecordKey | None, failures: Failures
) -> Summary:
    """Summarize the rows of a results table.

    Args:
        frame: The rows, one per key.
        columns: The columns of the scorers, in their order.
        cluster: See `summarize`.
        failures: See `summarize`.

    Raises:
        ConfigurationError: An argument is invalid, or no record has the column `cluster`.
    """
    order = tuple(columns)

    def task(batches: Iterable[pyarrow.RecordBatch]) -> Iterator[pyarrow.RecordBatch]:
        return _summarize(batches, order, cluster, failures)

    [row] = frame.select(*_COLUMNS).repartition(1).mapInArrow(task, "summary binary").collect()
    summary = pickle.loads(row["summary"])  # noqa: S301 - written by `_summarize`
    if isinstance(summary, ConfigurationError):
        raise summary
    return summary  # type: ignore[no-any-return]


def decode_result(row: Mapping[str, Any], columns: Sequence[str]) -> Row:
    """Return a row of the results table as the local engine has it.

    Args:
        row: Its columns `number`, `repetition`, `answer` and `outputs`.
        columns: The columns of the scorers, in their order.
    """
    stored = json.loads(row["outputs"])
    outputs = [
        codec.decode_scorer_output(stored[column]["output"])
        for column in columns
        if column in stored
    ]
    key = RowKey(row["number"], row["repetition"])
    return codec.decode_row(key, row["answer"], row_scores(outputs), None)


def _summarize(
    batches: Iterable[pyarrow.RecordBatch],
    columns: Sequence[str],
    cluster: RecordKey | None,
    failures: Failures,
) -> Iterator[pyarrow.RecordBatch]:
    import pyarrow

    with _sorted_rows(batches) as rows:
        results = (decode_result(row, columns) for row in rows)
        found = (RowResult(row.outcome, row.scores, row.record) for row in results)
        summary: Any
        try:
            summary = summarize(found, cluster=cluster, failures=failures)
        except ConfigurationError as error:
            summary = error
    yield pyarrow.RecordBatch.from_pydict({"summary": [pickle.dumps(summary)]})


@contextlib.contextmanager
def _sorted_rows(
    batches: Iterable[pyarrow.RecordBatch],
) -> Iterator[Iterator[dict[str, Any]]]:
    """Sort rows in a file: sums of floats, and so metrics, depend on the order of the rows.

    Sail (0.7.2) does not keep the order of a frame that is sorted before `mapInArrow`.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.closing(sqlite3.connect(Path(folder, "rows.sqlite"))) as database,
    ):
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("CREATE TABLE rows (number, repetition, answer, outputs)")
        for batch in batches:
            values = (tuple(row[name] for name in _COLUMNS) for row in batch.to_pylist())
            database.executemany("INSERT INTO rows VALUES (?, ?, ?, ?)", values)
        found = database.execute("SELECT * FROM rows ORDER BY number, repetition")
        yield (dict(zip(_COLUMNS, row, strict=True)) for row in found)
