"""What an opened source of records is, whichever it came from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

from langchain_dbx_eval.datasets.record import EvalRecord
from langchain_dbx_eval.errors import ConfigurationError

__all__ = ["DatasetInfo", "LoadOptions", "OpenDataset", "SupportsMerge"]


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How to reach a table by its name.

    Attributes:
        backend: The route to take, or None for the first that can.
        version: The version to read, or None for the newest.
        warehouse_id: The SQL warehouse to ask; None takes ``DATABRICKS_WAREHOUSE_ID``.
        workspace_client: A `databricks.sdk.WorkspaceClient`, or None for the SDK's default login.
        timeout: Seconds for all that a warehouse is asked, its start included.
        volume: The volume that many records pass through to a warehouse.
    """

    backend: str | None = None
    version: int | None = None
    warehouse_id: str | None = None
    workspace_client: Any = None
    timeout: float = 300.0
    volume: str | None = None

    def __post_init__(self) -> None:
        if self.version is not None and self.version < 0:
            msg = f"A version is a number from 0, not {self.version}."
            raise ConfigurationError(msg)
        if not self.timeout > 0:
            msg = f"A timeout is a number of seconds above 0, not {self.timeout}."
            raise ConfigurationError(msg)


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """What a source knows about a dataset as a whole; None where it does not."""

    dataset_id: str | None = None
    created_by: str | None = None
    last_update_time: datetime | None = None


class OpenDataset(ABC):
    """An opened source, pinned to one version of its content.

    Attributes:
        name: The dataset's name, where it has one.
        backend: The route by which it came: ``"local"``, ``"spark"``, ``"warehouse"``, ``"delta"``,
            ``"mlflow"``, ``"file"``, ``"frame"`` or ``"memory"``.
        description: Where the records come from, in words.
        version: The version that the records are read from, where there are versions.
    """

    name: str | None = None
    backend: str
    description: str
    version: int | str | None = None

    @abstractmethod
    def rows(self) -> Iterator[Mapping[str, Any] | EvalRecord | Any]:
        """The rows, from the first, each time anew and in the same order."""

    def count(self) -> int | None:
        """How many records there are, where that is known without reading them."""
        return None

    def facts(self) -> DatasetInfo:
        """What the source knows about the whole."""
        return DatasetInfo()

    def schema(self) -> dict[str, str] | None:
        """The columns and their types as the source names them, where it has some."""
        return None

    def digest(self) -> str | None:
        """The content's digest, where the source has a faster way than through records."""
        return None

    def mlflow_source(self) -> Any:
        """The source as an `mlflow.data.dataset_source.DatasetSource`, where MLflow has one."""
        return None


@runtime_checkable
class SupportsMerge(Protocol):
    """An opened source that records can be merged into."""

    def merge(self, records: Iterable[EvalRecord]) -> OpenDataset:
        """Merge records, and return the source pinned to the version that holds them."""
        ...
