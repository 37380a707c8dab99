"""Frames of other libraries: pandas, polars, Arrow, Spark, Hugging Face, and MLflow's wrappers.

The module of its class determines the library of a frame, so that none of them is imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from langchain_dbx_eval.datasets.base import LoadOptions, OpenDataset
from langchain_dbx_eval.datasets.delta.reader import read_batches
from langchain_dbx_eval.datasets.schema.validation import check_columns
from langchain_dbx_eval.errors import ConfigurationError

__all__ = ["FrameSource"]

_SLICE_ROWS = 1_000


class FrameSource(OpenDataset):
    """A frame, read in slices of 1,000 rows.

    Args:
        frame: The frame.
        library: The name of its library's package.
    """

    accepts = "a pandas, polars, Arrow, Spark or Hugging Face frame"
    backend = "frame"

    def __init__(self, frame: Any, library: str) -> None:
        self._frame = frame
        self._library = library
        self.description = f"{library} {type(frame).__name__}"

    @staticmethod
    def matches(source: Any, _: LoadOptions) -> bool:
        """See `DatasetSource`."""
        return _library_of(source) is not None

    @classmethod
    def open(cls, source: Any, options: LoadOptions) -> FrameSource:
        """Open a frame; lazy frames and streams are read into memory.

        Raises:
            ConfigurationError: It is a dict of several datasets, as Hugging Face returns.
            SchemaError: Two columns have the same name.
        """
        if isinstance(source, Mapping):
            msg = (
                f"This {type(source).__name__} contains {len(source)} datasets "
                f"({', '.join(map(str, source))}). Select one: EvalDataset.load(data['…'])."
            )
            raise ConfigurationError(msg)
        library = _library_of(source) or ""
        if library == "mlflow":
            return cls.open(source.df, options)
        if type(source).__name__ == "LazyFrame":
            return cls(source.collect(), library)
        if type(source).__name__ == "RecordBatchReader":
            source = source.read_all()
        frame = cls(source, library)
        names = getattr(source, _NAMES.get(library, "columns"))
        # Of a streamed Hugging Face dataset they may be unknown.
        check_columns(() if names is None else names, frame.description)
        return frame

    def rows(self) -> Iterator[Any]:
        """See `OpenDataset`."""
        return _READERS[self._library](self._frame)

    def schema(self) -> dict[str, str] | None:
        """See `OpenDataset`."""
        read_schema = _SCHEMAS.get(self._library)
        return read_schema(self._frame) if read_schema else None


def _read_pandas(frame: Any) -> Iterator[Mapping[str, Any]]:
    for start in range(0, len(frame), _SLICE_ROWS):
        yield from frame.iloc[start : start + _SLICE_ROWS].to_dict(orient="records")


def _read_arrow(table: Any) -> Iterator[Any]:
    # A record batch, the other class of this library, has no parts.
    slices = range(0, len(table), _SLICE_ROWS)
    return read_batches(table.slice(start, _SLICE_ROWS) for start in slices)


def _read_spark(frame: Any) -> Iterator[Mapping[str, Any]]:
    for row in frame.toLocalIterator():
        yield row.asDict(recursive=True)


_READERS: dict[str, Callable[[Any], Iterator[Any]]] = {
    "pandas": _read_pandas,
    "polars": lambda frame: frame.iter_rows(named=True),
    "pyarrow": _read_arrow,
    "pyspark": _read_spark,
    "datasets": iter,
    "mlflow": _read_pandas,
}
# The attribute with the names of the columns, where it is not `columns`.
_NAMES = {"pyarrow": "column_names", "datasets": "column_names"}
_SCHEMAS: dict[str, Callable[[Any], dict[str, str]]] = {
    "pandas": lambda frame: {str(name): str(dtype) for name, dtype in frame.dtypes.items()},
    "polars": lambda frame: {name: str(dtype) for name, dtype in frame.schema.items()},
    "pyarrow": lambda frame: {field.name: str(field.type) for field in frame.schema},
    "pyspark": lambda frame: dict(frame.dtypes),
}
_CLASS_NAMES = frozenset(
    {"DataFrame", "LazyFrame", "Table", "RecordBatch", "RecordBatchReader", "Dataset"}
    | {"IterableDataset", "DatasetDict", "IterableDatasetDict", "PandasDataset"}
)


def _library_of(source: Any) -> str | None:
    for cls in type(source).__mro__:
        if cls.__name__ in _CLASS_NAMES:
            library = cls.__module__.split(".")[0]
            if library in _READERS:
                return library
    return None
