"""Numbers of the rows of results tables, computed in one task by functions of the local engine.

The task reads the rows as a stream, sorts them in a file, and returns the numbers alone: the driver
receives one row.
"""

from __future__ import annotations

import contextlib
import json
import pickle
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_dbx_eval.errors import ConfigurationError, DatabricksError
from langchain_dbx_eval.evaluation.journal import codec
from langchain_dbx_eval.evaluation.journal.rows import Row, RowKey
from langchain_dbx_eval.evaluation.spark.shipping import decode, encode
from langchain_dbx_eval.evaluation.spark.storage import describe_failure
from langchain_dbx_eval.scoring.score_row import row_scores

if TYPE_CHECKING:
    import pyarrow

    from langchain_dbx_eval.evaluation.journal.store import Journal

__all__ = ["RowFrame", "compute_in_task", "decode_result", "frame_of_journal"]

_COLUMNS = ["number", "repetition", "answer", "outputs"]
_PAGE = 200


@dataclass(frozen=True)
class RowFrame:
    """The rows of an evaluation as a frame.

    Attributes:
        frame: The rows, one per key.
        columns: The columns of the scorers, in their order.
    """

    frame: Any
    columns: tuple[str, ...]


def compute_in_task(
    function: Callable[..., Any], tables: Sequence[RowFrame], keys: Mapping[str, Any]
) -> Any:
    """Call a function of this package with the rows of evaluations, in one task.

    Args:
        function: The function. Its parameters are the rows of each table, which can be iterated
            several times, in the order of the dataset, and those of `keys`. Its result is small.
        tables: The tables.
        keys: Arguments that may be functions of the user, by the name of the parameter.

    Raises:
        ConfigurationError: A function of the user cannot be sent to the task, or the function
            raised this.
        DatabricksError: The job failed.
    """
    shipped = {name: encode(name, key) for name, key in keys.items()}
    columns = [table.columns for table in tables]
    frames = [
        table.frame.selectExpr(f"{number} AS side", *_COLUMNS)
        for number, table in enumerate(tables)
    ]

    def task(batches: Iterable[pyarrow.RecordBatch]) -> Iterator[pyarrow.RecordBatch]:
        return _compute(batches, function, columns, shipped)

    union = reduce(lambda one, other: one.unionByName(other), frames)
    try:
        [row] = union.repartition(1).mapInArrow(task, "result binary").collect()
    except Exception as error:  # of Spark, its connection, or the task
        msg = f"The results table could not be evaluated: {describe_failure(error)}."
        raise DatabricksError(msg) from error
    result = pickle.loads(row["result"])  # noqa: S301 - of `_compute`: classes of this package
    if isinstance(result, ConfigurationError):
        raise result
    return result


def frame_of_journal(journal: Journal, session: Any) -> RowFrame:
    """Return the rows of an evaluation of the local engine, for a comparison with one on Spark."""
    import pyarrow

    lines = []
    for keys in _pages(journal.row_keys()):
        outputs = journal.scorer_outputs(keys)
        for row in journal.read_rows(keys):
            stored = {
                column: {"output": codec.encode_scorer_output(output)}
                for column, output in outputs.get(row.key, {}).items()
            }
            answer = codec.encode_answer(row)
            lines.append((row.number, row.repetition, answer, json.dumps(stored)))
    types = (pyarrow.int64(), pyarrow.int32(), pyarrow.string(), pyarrow.string())
    schema = pyarrow.schema(list(zip(_COLUMNS, types, strict=True)))
    rows = [dict(zip(_COLUMNS, line, strict=True)) for line in lines]
    frame = session.createDataFrame(pyarrow.Table.from_pylist(rows, schema=schema))
    return RowFrame(frame, tuple(journal.manifest.scorers))


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


def _compute(
    batches: Iterable[pyarrow.RecordBatch],
    function: Callable[..., Any],
    columns: Sequence[tuple[str, ...]],
    shipped: Mapping[str, str],
) -> Iterator[pyarrow.RecordBatch]:
    import pyarrow

    with _stored_rows(batches) as database:
        tables = [_SortedRows(database, side, of_side) for side, of_side in enumerate(columns)]
        result: Any
        try:
            result = function(*tables, **{name: decode(text) for name, text in shipped.items()})
        except ConfigurationError as error:
            result = error
    yield pyarrow.RecordBatch.from_pydict({"result": [pickle.dumps(result)]})


class _SortedRows(Iterable[Row]):
    """The rows of a table in the order of the dataset; each iteration reads the file."""

    def __init__(self, database: sqlite3.Connection, side: int, columns: tuple[str, ...]) -> None:
        self._database = database
        self._side = side
        self._columns = columns

    def __iter__(self) -> Iterator[Row]:
        found = self._database.execute(
            "SELECT number, repetition, answer, outputs FROM rows WHERE side = ? "
            "ORDER BY number, repetition",
            (self._side,),
        )
        for row in found:
            yield decode_result(dict(zip(_COLUMNS, row, strict=True)), self._columns)


@contextlib.contextmanager
def _stored_rows(batches: Iterable[pyarrow.RecordBatch]) -> Iterator[sqlite3.Connection]:
    """Store rows in a file, to sort them: sums of floats, and so metrics, depend on their order.

    Sail (0.7.2) does not keep the order of a frame that is sorted before `mapInArrow`.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.closing(sqlite3.connect(Path(folder, "rows.sqlite"))) as database,
    ):
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("CREATE TABLE rows (side, number, repetition, answer, outputs)")
        for batch in batches:
            values = (tuple(row[name] for name in ("side", *_COLUMNS)) for row in batch.to_pylist())
            database.executemany("INSERT INTO rows VALUES (?, ?, ?, ?, ?)", values)
        yield database


def _pages(keys: Sequence[RowKey]) -> Iterator[Sequence[RowKey]]:
    for start in range(0, len(keys), _PAGE):
        yield keys[start : start + _PAGE]
