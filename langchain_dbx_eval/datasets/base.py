"""The interfaces of the package: an opened dataset, a dataset source, and a table backend."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

from langchain_dbx_eval.datasets.record import EvalRecord, describe_value
from langchain_dbx_eval.datasets.schema.table_name import TableName
from langchain_dbx_eval.errors import ConfigurationError

__all__ = [
    "DatasetInfo",
    "DatasetSource",
    "LoadOptions",
    "OpenDataset",
    "SupportsCreate",
    "SupportsDelete",
    "SupportsMerge",
    "TableBackend",
    "check_count",
    "is_number",
]


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """The options of `EvalDataset.load` and `EvalDataset.create`.

    Attributes:
        backend: The backend; None: chosen automatically.
        version: The version to read; None: the newest.
        warehouse_id: The SQL warehouse; None: ``DATABRICKS_WAREHOUSE_ID``.
        workspace_client: A `databricks.sdk.WorkspaceClient`; None: the SDK's default login.
        timeout: Total timeout of a statement in seconds, including the start-up of its warehouse.
        volume: The volume for large uploads to a warehouse; None: ``DBX_EVAL_VOLUME``.

    Raises:
        ConfigurationError: An argument is of a wrong type, `version` is negative, or `timeout` is
            not positive.
    """

    backend: str | None = None
    version: int | None = None
    warehouse_id: str | None = None
    workspace_client: Any = None
    timeout: float = 300.0
    volume: str | None = None

    def __post_init__(self) -> None:
        for name in ("backend", "warehouse_id", "volume"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                msg = f"`{name}` must be a string, got {describe_value(value)}."
                raise ConfigurationError(msg)
        if self.version is not None:
            check_count("version", self.version)
        if not is_number(self.timeout) or not self.timeout > 0:
            msg = f"`timeout` must be a positive number of seconds, got {self.timeout!r}."
            raise ConfigurationError(msg)

    @property
    def configured_warehouse_id(self) -> str | None:
        """`warehouse_id`, or ``DATABRICKS_WAREHOUSE_ID``."""
        return self.warehouse_id or os.environ.get("DATABRICKS_WAREHOUSE_ID") or None


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """Metadata of a dataset; None where the source has none."""

    dataset_id: str | None = None
    created_by: str | None = None
    last_update_time: datetime | None = None


class OpenDataset(ABC):
    """An opened dataset, pinned to one version of its content.

    Attributes:
        name: The dataset's name, if it has one.
        backend: The backend that reads it: ``"local"``, ``"spark"``, ``"warehouse"``, ``"delta"``,
            ``"managed"``, ``"mlflow"``, ``"file"``, ``"frame"`` or ``"memory"``.
        description: The source of its records, as a phrase for messages.
        version: The version that is read; None if the source has no versions.
    """

    name: str | None = None
    backend: str
    description: str
    version: int | str | None = None

    @abstractmethod
    def rows(self) -> Iterator[Any]:
        """Iterate over all rows, in the same order on each call.

        Yields:
            A mapping of values by column, an `EvalRecord`, an MLflow trace, or the `SchemaError` of
            a row that cannot be read. Any other value is reported as an invalid row.
        """

    def count(self) -> int | None:
        """Return the number of records; None if they must be read to be counted."""
        return None

    def info(self) -> DatasetInfo:
        """Return the dataset's metadata."""
        return DatasetInfo()

    def schema(self) -> dict[str, str] | None:
        """Return the source's types by column; None if it has no schema."""
        return None

    def digest(self) -> str | None:
        """Return the digest of the content; None to compute it from the records."""
        return None

    def mlflow_source(self) -> Any:
        """Return an `mlflow.data.dataset_source.DatasetSource`; None if there is none."""
        return None


@runtime_checkable
class SupportsMerge(Protocol):
    """An opened dataset that records can be merged into."""

    def merge(self, records: Iterable[EvalRecord]) -> OpenDataset:
        """Merge records, and return the dataset at the version that contains them."""
        ...


@runtime_checkable
class SupportsDelete(Protocol):
    """An opened dataset that records can be deleted from, and that can be deleted itself."""

    def delete_records(self, ids: Collection[str], /) -> tuple[OpenDataset, int]:
        """Delete records from the newest version.

        Args:
            ids: Keys (`record_key`), or the store's own record ids.

        Returns:
            The dataset at the version without them, and the number of deleted records.
        """
        ...

    def drop(self) -> None:
        """Delete the dataset with all its records."""
        ...


def is_number(value: Any) -> bool:
    """Return whether a value is an integer or a float, and no boolean."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def check_count(name: str, value: Any) -> None:
    """Raise if an argument is not an integer of 0 or more.

    Raises:
        ConfigurationError: It is not; the message contains the name of the argument.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        msg = f"`{name}` must be an integer, 0 or more, got {describe_value(value)}."
        raise ConfigurationError(msg)


class DatasetSource(Protocol):
    """A type of value that `EvalDataset.load` accepts.

    To add one, write a class with these members in `sources/`, usually an `OpenDataset` whose
    `open` returns an instance, and list it in `sources/registry.py`.

    Attributes:
        accepts: The values, as a phrase for the message about an unsupported one.
    """

    accepts: str

    @staticmethod
    def matches(source: Any, options: LoadOptions, /) -> bool:
        """Return whether this class opens a value."""
        ...

    @classmethod
    def open(cls, source: Any, options: LoadOptions, /) -> OpenDataset:
        """Open a value that `matches`."""
        ...


class TableBackend(Protocol):
    """A store of tables with three-level names.

    To add one, write an `OpenDataset` with these members in `databricks/` or `delta/`, and list it
    in `sources/table_resolver.py`. To create tables there, add the method of `SupportsCreate`.

    Attributes:
        backend: The value of ``backend=`` that selects it.
    """

    backend: str

    @classmethod
    def is_default_for(cls, name: TableName, options: LoadOptions, /) -> bool:
        """Return whether to read a table from here when no ``backend=`` is given."""
        ...

    @classmethod
    def open(cls, name: TableName, options: LoadOptions, /) -> OpenDataset:
        """Open a table.

        Raises:
            NotFoundError: The table or the version does not exist.
        """
        ...


@runtime_checkable
class SupportsCreate(Protocol):
    """A table backend that can create tables."""

    @classmethod
    def create(
        cls, name: TableName, records: Iterable[EvalRecord], options: LoadOptions, /
    ) -> OpenDataset:
        """Create a table that contains some records.

        Raises:
            AlreadyExistsError: A table of this name exists.
        """
        ...
