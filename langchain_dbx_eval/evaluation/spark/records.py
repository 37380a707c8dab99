"""The rows of a dataset as a frame of records, each with its key."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_dbx_eval._internal.imports import require
from langchain_dbx_eval.datasets import EvalDataset, EvalRecord, InvalidRow
from langchain_dbx_eval.datasets.schema.mlflow_codec import from_table
from langchain_dbx_eval.datasets.schema.table_name import TableName, looks_like_table_name
from langchain_dbx_eval.datasets.schema.validation import parse_rows
from langchain_dbx_eval.datasets.sources.frames import FrameSource
from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.evaluation.journal.codec import encode_record
from langchain_dbx_eval.evaluation.spark.storage import describe_failure

if TYPE_CHECKING:
    import pyarrow

__all__ = ["SparkDataset", "open_records"]

_SCHEMA = "record_key string, number bigint, record string, error string"
_ROW_NUMBER = re.compile(r"^Row \d+, ")
# Of a table in the current catalog or schema of the session.
_SHORT_NAME = re.compile(r"\w+(\.\w+)?")
# Positive, and without collisions below a hundred million rows.
_HASH_BITS = 2**60 - 1


@dataclass(frozen=True)
class SparkDataset:
    """A dataset whose records Spark reads.

    Attributes:
        records: A frame with ``record_key``, ``occurrence``, ``number``, ``record`` (JSON) and
            ``error`` (why the row is not a valid record).
        dataset: The dataset for MLflow and the result.
    """

    records: Any
    dataset: EvalDataset

    def measure(self) -> tuple[int, str]:
        """Return the number of rows, and a digest that does not depend on their order.

        Raises:
            ConfigurationError: The rows cannot be read.
        """
        part = "sum(pmod(xxhash64(record_key), 2147483647)) AS part"
        try:
            [row] = self.records.selectExpr("count(*) AS n", part).collect()
        except Exception as error:  # of Spark, its connection, or what the frame is computed from
            msg = f"The dataset cannot be read by the tasks of Spark: {describe_failure(error)}."
            raise ConfigurationError(msg) from error
        text = f"{row['n']}:{row['part'] or 0}"
        return int(row["n"]), hashlib.sha256(text.encode()).hexdigest()[:16]


def open_records(data: Any, session: Any) -> SparkDataset:
    """Return the records of a dataset as a frame.

    Args:
        data: A Spark frame, the name of a table of the session, or anything that
            `EvalDataset.load` accepts; that is read by the driver.
        session: The Spark session.
    """
    if type(data).__module__.startswith("pyspark.") and hasattr(data, "mapInArrow"):
        dataset = EvalDataset(FrameSource(data, "pyspark"))
        return SparkDataset(_with_occurrence(data.mapInArrow(_parse_frame, _SCHEMA)), dataset)
    if isinstance(data, str) and (looks_like_table_name(data) or _SHORT_NAME.fullmatch(data)):
        name = TableName.parse(data).sql if looks_like_table_name(data) else data
        if _has_table(session, name):
            table = session.table(name)
            dataset = EvalDataset(_NamedFrame(table, data))
            return SparkDataset(_with_occurrence(table.mapInArrow(_parse_table, _SCHEMA)), dataset)
    dataset = EvalDataset.load(data)
    if not len(dataset) and dataset.errors:
        raise dataset.errors[0]
    pyarrow = require("pyarrow", extra="spark")
    rows = [_row(row, number) for number, row in enumerate(dataset.iter_rows())]
    table = pyarrow.Table.from_pylist(rows, schema=_arrow_schema())
    # Spark (4.2) infers no schema of an empty table.
    frame = session.createDataFrame(table) if rows else session.createDataFrame([], _SCHEMA)
    return SparkDataset(_with_occurrence(frame), dataset)


class _NamedFrame(FrameSource):
    """A table of the session, which the tasks read."""

    def __init__(self, frame: Any, name: str) -> None:
        super().__init__(frame, "pyspark")
        self.name = name
        self.backend = "spark"
        self.description = f"table {name} of the Spark session"


def _with_occurrence(frame: Any) -> Any:
    # Equal records are interchangeable, so any order gives the same keys.
    occurrence = "row_number() OVER (PARTITION BY record_key ORDER BY number) AS occurrence"
    number = f"coalesce(number, xxhash64(record_key, occurrence) & {_HASH_BITS}) AS number"
    columns = ("record_key", "occurrence", number, "record", "error")
    return frame.selectExpr("*", occurrence).selectExpr(*columns)


def _has_table(session: Any, name: str) -> bool:
    from pyspark.errors import PySparkException

    try:
        return bool(session.catalog.tableExists(name))
    except PySparkException:  # for example, the catalog does not exist
        return False


def _arrow_schema() -> pyarrow.Schema:
    import pyarrow

    text = pyarrow.string()
    columns = {"record_key": text, "number": pyarrow.int64(), "record": text, "error": text}
    return pyarrow.schema(list(columns.items()))


def _parse_frame(batches: Iterable[pyarrow.RecordBatch]) -> Iterator[pyarrow.RecordBatch]:
    return _parse(batches, lambda row: row)


def _parse_table(batches: Iterable[pyarrow.RecordBatch]) -> Iterator[pyarrow.RecordBatch]:
    return _parse(batches, from_table)


def _parse(
    batches: Iterable[pyarrow.RecordBatch],
    decode: Callable[[Mapping[str, Any]], Mapping[str, Any]],
) -> Iterator[pyarrow.RecordBatch]:
    import pyarrow

    for batch in batches:
        found = parse_rows(map(decode, batch.to_pylist(maps_as_pydicts="strict")))
        rows = [_row(row, None) for row in found]
        yield pyarrow.RecordBatch.from_pylist(rows, schema=_arrow_schema())


def _row(row: EvalRecord | InvalidRow, number: int | None) -> dict[str, Any]:
    error = None
    if isinstance(row, InvalidRow):
        # The rows of a Spark frame have no numbers.
        reason = str(row.error) if number is not None else _ROW_NUMBER.sub("", str(row.error))
        error = f"SchemaError: {reason}"
        row = row.to_record()
    text = encode_record(row)
    key = hashlib.sha256(f"{text}{error or ''}".encode()).hexdigest()
    return {"record_key": key, "number": number, "record": text, "error": error}
