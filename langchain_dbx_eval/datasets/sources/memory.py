"""Records that are in memory already: lists of dicts or of `EvalRecord`s."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from langchain_dbx_eval.datasets.open_dataset import LoadOptions, OpenDataset

__all__ = ["MemorySource"]


class MemorySource(OpenDataset):
    """A list of dicts or records, copied so that later changes of the list do not reach it."""

    backend = "memory"

    def __init__(self, rows: Iterable[Any], description: str = "list of records") -> None:
        self._rows = tuple(rows)
        self.description = description

    @staticmethod
    def matches(source: Any) -> bool:
        """Whether the source is a list, a tuple or a generator."""
        return isinstance(source, list | tuple) or hasattr(source, "__next__")

    @classmethod
    def open(cls, source: Any, _: LoadOptions) -> MemorySource:
        """Take the rows."""
        return cls(source)

    def rows(self) -> Iterator[Any]:
        """See `OpenDataset`."""
        return iter(self._rows)
