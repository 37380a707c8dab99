"""What `EvalDataset.load` takes, in the order in which it is tried.

A source is a class with ``matches(source)`` and ``open(source, reach)``; a new one is a class and
its place in `SOURCES`.
"""

from __future__ import annotations

from typing import Any, Protocol

from langchain_dbx_eval.datasets.open_dataset import LoadOptions, OpenDataset
from langchain_dbx_eval.datasets.sources.files import DeltaFolderSource, FileSource
from langchain_dbx_eval.datasets.sources.frames import FrameSource
from langchain_dbx_eval.datasets.sources.memory import MemorySource
from langchain_dbx_eval.datasets.sources.mlflow_store import MlflowDatasetSource
from langchain_dbx_eval.datasets.sources.table_resolver import NamedSource
from langchain_dbx_eval.errors import ConfigurationError

__all__ = ["SOURCES", "open_source"]


class _Source(Protocol):
    def matches(self, source: Any, /) -> bool: ...

    def open(self, source: Any, reach: LoadOptions, /) -> OpenDataset: ...


SOURCES: tuple[_Source, ...] = (
    DeltaFolderSource,
    NamedSource,
    FileSource,
    MlflowDatasetSource,
    FrameSource,
    MemorySource,
)


def open_source(source: Any, reach: LoadOptions) -> OpenDataset:
    """Open whatever `EvalDataset.load` was given.

    Raises:
        ConfigurationError: It is nothing that a dataset can be read from.
    """
    if reach.backend == "mlflow" and isinstance(source, str):
        return MlflowDatasetSource.open(source, reach)
    for kind in SOURCES:
        if kind.matches(source):
            return kind.open(source, reach)
    shown = repr(source) if isinstance(source, str) else f"a {type(source).__name__}"
    msg = (
        f"No dataset can be read from {shown}. Give a three-level name such as "
        "'main.default.questions', a list of dicts, a DataFrame (pandas, polars, Spark, Arrow, "
        "Hugging Face), an MLflow dataset, or the path of a .jsonl, .json, .csv, .parquet or .yaml "
        "file or of a Delta folder."
    )
    raise ConfigurationError(msg)
