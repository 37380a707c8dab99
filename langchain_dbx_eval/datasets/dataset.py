"""`EvalDataset`: an evaluation dataset, wherever it comes from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from langchain_dbx_eval.datasets.local_catalog import LocalTable
from langchain_dbx_eval.datasets.names import TableName
from langchain_dbx_eval.datasets.records import EvalRecord, read_records, record_key
from langchain_dbx_eval.datasets.sources import LocalTableSource, Opened, open_source
from langchain_dbx_eval.errors import ConfigurationError, SchemaError

__all__ = ["EvalDataset"]


class EvalDataset:
    """A set of evaluation records, pinned to the version that it was read at.

    Made by `load` and `create`, never directly.
    """

    def __init__(self, opened: Opened) -> None:
        self._opened = opened

    @classmethod
    def load(cls, source: Any) -> EvalDataset:
        """Open a dataset. Reading never writes.

        Args:
            source: A three-level name (``"main.default.questions"``), a list of dicts or
                `EvalRecord`s, a pandas DataFrame, or a dataset, which is returned as it is.

        Returns:
            The dataset. Rows that break the schema are in its `errors`, the others in it.

        Raises:
            NotFoundError: There is no table of this name.
            ConfigurationError: The source is nothing that a dataset can be read from.
        """
        return source if isinstance(source, cls) else cls(open_source(source))

    @classmethod
    def create(
        cls, name: str, records: Iterable[EvalRecord | Mapping[str, Any]] = ()
    ) -> EvalDataset:
        """Create a table for a dataset.

        Args:
            name: Its three-level name.
            records: Records to begin with.

        Raises:
            AlreadyExistsError: There is a table of this name.
            ConfigurationError: The name is not one.
            SchemaError: A record breaks the schema; nothing has been created then.
        """
        checked = _checked(records)
        table = LocalTable.create(TableName.parse(name))
        if checked:
            table.merge(checked)
        return cls(LocalTableSource(table))

    def merge_records(self, records: Iterable[EvalRecord | Mapping[str, Any]]) -> EvalDataset:
        """Add records to the table; the same inputs are one record, so doing it twice is safe.

        Args:
            records: Records, or rows of either vocabulary.

        Returns:
            This dataset, now pinned to the version that holds them.

        Raises:
            ConfigurationError: The dataset has no table behind it.
            SchemaError: A record breaks the schema; none has been added then.
        """
        if not isinstance(self._opened, LocalTableSource):
            msg = (
                f"This dataset was read from a {self.source}, which cannot be added to. "
                "Put it in a table first: EvalDataset.create('main.default.…', records)."
            )
            raise ConfigurationError(msg)
        self._opened.table.merge(_checked(records))
        self._opened = LocalTableSource(self._opened.table)
        self.__dict__.pop("digest", None)
        return self

    @property
    def name(self) -> str | None:
        """The table's three-level name, where there is one."""
        return self._opened.name

    @property
    def source(self) -> str:
        """Where the records come from, in words."""
        return self._opened.description

    @property
    def path(self) -> Path | None:
        """The folder of the Delta table behind it, where there is one on this machine."""
        return self._opened.table.path if isinstance(self._opened, LocalTableSource) else None

    @property
    def version(self) -> int | None:
        """The Delta version that the records are read from, where there are versions."""
        return self._opened.version

    @property
    def errors(self) -> tuple[SchemaError, ...]:
        """One error for each row of the source that is no record."""
        return self._opened.errors

    @cached_property
    def digest(self) -> str:
        """A fingerprint of the content, the same in whatever order the records come."""
        parts = sorted(
            record_key({"inputs": record.inputs, "row": record.to_row()}) for record in self
        )
        return hashlib.sha256("".join(parts).encode()).hexdigest()[:16]

    def __iter__(self) -> Iterator[EvalRecord]:
        return self._opened.records()

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        at = f", version {self.version}" if self.version is not None else ""
        return f"EvalDataset({self.name or 'unnamed'}{at}: {len(self)} records from {self.source})"


def _checked(records: Iterable[EvalRecord | Mapping[str, Any]]) -> list[EvalRecord]:
    good, errors = read_records(records)
    if errors:
        raise errors[0] if len(errors) == 1 else SchemaError("\n".join(map(str, errors)))
    return good
