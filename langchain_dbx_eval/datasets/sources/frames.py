"""Frames of other libraries: pandas, polars, Arrow, Spark, Hugging Face, and MLflow's around them.

Which library a frame is of is told by the module of its class, so that none is imported to ask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from langchain_dbx_eval.datasets.open_dataset import LoadOptions, OpenDataset
from langchain_dbx_eval.errors import ConfigurationError

__all__ = ["FrameSource"]

_SLICE = 1_000


class FrameSource(OpenDataset):
    """A frame, read in slices."""

    backend = "frame"

    def __init__(self, frame: Any, kind: str) -> None:
        self._frame = frame
        self._kind = kind
        self.description = f"{kind} {type(frame).__name__}"

    @staticmethod
    def matches(source: Any) -> bool:
        """Whether the source is such a frame."""
        return _kind_of(source) in _READERS

    @classmethod
    def open(cls, source: Any, reach: LoadOptions) -> FrameSource:
        """Take the frame.

        Raises:
            ConfigurationError: It holds several sets of records.
        """
        if isinstance(source, Mapping):
            msg = (
                f"This {type(source).__name__} holds {len(source)} sets of records "
                f"({', '.join(map(str, source))}). Choose one: EvalDataset.load(data['…'])."
            )
            raise ConfigurationError(msg)
        kind = _kind_of(source) or ""
        if kind == "mlflow":
            return cls.open(source.df, reach)
        if type(source).__name__ == "LazyFrame":
            return cls(source.collect(), kind)
        if type(source).__name__ == "RecordBatchReader":
            return cls(source.read_all(), kind)
        return cls(source, kind)

    def rows(self) -> Iterator[Mapping[str, Any]]:
        """See `OpenDataset`."""
        return _READERS[self._kind](self._frame)

    def schema(self) -> dict[str, str] | None:
        """See `OpenDataset`."""
        return _SCHEMAS.get(self._kind, _no_schema)(self._frame)


def _pandas(frame: Any) -> Iterator[Mapping[str, Any]]:
    for start in range(0, len(frame), _SLICE):
        yield from frame.iloc[start : start + _SLICE].to_dict(orient="records")


def _polars(frame: Any) -> Iterator[Mapping[str, Any]]:
    yield from frame.iter_rows(named=True)


def _arrow(table: Any) -> Iterator[Mapping[str, Any]]:
    for batch in table.to_batches(max_chunksize=_SLICE):
        yield from batch.to_pylist(maps_as_pydicts="strict")


def _spark(frame: Any) -> Iterator[Mapping[str, Any]]:
    for row in frame.toLocalIterator():
        yield row.asDict(recursive=True)


def _hugging_face(data: Any) -> Iterator[Mapping[str, Any]]:
    return iter(data)


_READERS: dict[str, Callable[[Any], Iterator[Mapping[str, Any]]]] = {
    "pandas": _pandas,
    "polars": _polars,
    "pyarrow": _arrow,
    "pyspark": _spark,
    "datasets": _hugging_face,
    "mlflow": _pandas,
}
_SCHEMAS: dict[str, Callable[[Any], dict[str, str] | None]] = {
    "pandas": lambda frame: {str(name): str(kind) for name, kind in frame.dtypes.items()},
    "polars": lambda frame: {name: str(kind) for name, kind in frame.schema.items()},
    "pyarrow": lambda frame: {field.name: str(field.type) for field in frame.schema},
    "pyspark": lambda frame: dict(frame.dtypes),
}
_FRAMES = frozenset(
    {"DataFrame", "LazyFrame", "Table", "RecordBatch", "RecordBatchReader", "Dataset"}
    | {"IterableDataset", "DatasetDict", "IterableDatasetDict", "PandasDataset"}
)


def _no_schema(_: Any) -> None:
    return None


def _kind_of(source: Any) -> str | None:
    for kind in type(source).__mro__:
        if kind.__name__ in _FRAMES:
            library = kind.__module__.split(".")[0]
            if library in _READERS:
                return library
    return None
