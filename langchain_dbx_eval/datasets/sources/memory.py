"""Lists of dicts, of `EvalRecord`s or of MLflow traces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from langchain_dbx_eval.datasets.base import LoadOptions, OpenDataset

__all__ = ["MemorySource"]


class MemorySource(OpenDataset):
    """A copy of a list, which later changes to the list do not affect.

    Args:
        rows: The dicts, records or traces.
        description: See `OpenDataset`.
    """

    accepts = "a list of dicts, records or MLflow traces"
    backend = "memory"

    def __init__(self, rows: Iterable[Any], description: str = "list of records") -> None:
        self._rows = tuple(rows)
        self.description = description

    @staticmethod
    def matches(source: Any, _: LoadOptions) -> bool:
        """See `DatasetSource`; lists, tuples and generators."""
        # An open file is an iterator of its lines, which are no rows.
        is_iterator = hasattr(source, "__next__") and not hasattr(source, "read")
        return isinstance(source, list | tuple) or is_iterator

    @classmethod
    def open(cls, source: Any, _: LoadOptions) -> MemorySource:
        """See `DatasetSource`."""
        return cls(source)

    def rows(self) -> Iterator[Any]:
        """See `OpenDataset`."""
        return iter(self._rows)
