"""The sources of `EvalDataset.load`.

To add one, write a class with the members of `DatasetSource` in this package, and add it to
`SOURCES`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from langchain_dbx_eval.datasets.base import DatasetSource, LoadOptions, OpenDataset
from langchain_dbx_eval.datasets.delta.local_catalog import LocalTable
from langchain_dbx_eval.datasets.record import EvalRecord
from langchain_dbx_eval.datasets.sources.files import (
    URL_ADVICE,
    DeltaFolderSource,
    FileSource,
    is_url,
)
from langchain_dbx_eval.datasets.sources.frames import FrameSource
from langchain_dbx_eval.datasets.sources.memory import MemorySource
from langchain_dbx_eval.datasets.sources.mlflow_store import MlflowStoreSource
from langchain_dbx_eval.datasets.sources.table_resolver import TableSource
from langchain_dbx_eval.errors import ConfigurationError

__all__ = ["SOURCES", "open_rows", "open_source"]

# The first one that matches opens the value.
SOURCES: tuple[type[DatasetSource], ...] = (
    MlflowStoreSource,
    DeltaFolderSource,
    TableSource,
    FileSource,
    FrameSource,
    MemorySource,
)
_WITHOUT_OPTIONS: tuple[type[DatasetSource], ...] = (FileSource, FrameSource, MemorySource)


def open_rows(source: Any, options: LoadOptions) -> Iterable[Any]:
    """Return the rows of any value that `open_source` opens, or of another iterable.

    A generator is not read into memory.

    Raises:
        ConfigurationError: No source accepts a value like this one.
    """
    is_lazy = isinstance(source, Iterable) and not isinstance(source, str | Mapping)
    if is_lazy and not any(cls.matches(source, options) for cls in SOURCES[:-1]):
        return source  # type: ignore[no-any-return]
    return open_source(source, options).rows()


def open_source(source: Any, options: LoadOptions) -> OpenDataset:
    """Open the argument of `EvalDataset.load`.

    Raises:
        ConfigurationError: No source accepts a value like this one.
    """
    for cls in SOURCES:
        if cls.matches(source, options):
            if cls in _WITHOUT_OPTIONS and (options.version, options.backend) != (None, None):
                msg = f"`version` and `backend` apply to tables, and not to {cls.accepts}."
                raise ConfigurationError(msg)
            return cls.open(source, options)
    value = repr(source) if isinstance(source, str) else f"a value of type {type(source).__name__}"
    accepted = "; ".join(cls.accepts for cls in SOURCES)
    msg = f"No dataset can be read from {value}. {_advice(source)}Accepted sources: {accepted}."
    raise ConfigurationError(msg)


def _advice(source: Any) -> str:
    if isinstance(source, Mapping | EvalRecord):
        return "Pass one record as a list: [record]. "
    if hasattr(source, "read"):
        return "Pass the path of the file. "
    if isinstance(source, Iterable) and not isinstance(source, str | bytes):
        return "Pass list(…) of its rows, each a dict of columns. "
    if isinstance(source, str) and is_url(source):
        return f"{URL_ADVICE} "
    if isinstance(source, str) and (near := LocalTable.similar(source)):
        return f"Did you mean {near}, of the local catalog? "
    return ""
