"""The evaluation datasets of MLflow's own store: reading, merging and exporting.

`mlflow.genai.datasets.get_dataset` is not called for datasets on Databricks: it rewrites the table
that it reads (databricks-sdk-py#1418). Such datasets are opened as Unity Catalog tables.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from langchain_dbx_eval._internal.imports import require
from langchain_dbx_eval.datasets.base import DatasetInfo, LoadOptions, OpenDataset
from langchain_dbx_eval.datasets.record import EvalRecord, record_key
from langchain_dbx_eval.datasets.schema.mlflow_codec import from_mlflow, to_mlflow
from langchain_dbx_eval.datasets.schema.validation import decode_rows
from langchain_dbx_eval.datasets.sources.table_resolver import TableSource
from langchain_dbx_eval.errors import (
    AlreadyExistsError,
    ConfigurationError,
    DatabricksError,
    NotFoundError,
    SchemaError,
)

if TYPE_CHECKING:
    from mlflow.genai.datasets import EvaluationDataset as MlflowEvaluationDataset

__all__ = ["MlflowStoreSource", "export", "mlflow_errors"]

_ID = re.compile(r"d-[0-9a-f]{32}")
_PAGE_SIZE = 1_000
_ERROR_BY_CODE: dict[str, type[DatabricksError]] = {
    "RESOURCE_DOES_NOT_EXIST": NotFoundError,
    "RESOURCE_ALREADY_EXISTS": AlreadyExistsError,
    "INVALID_PARAMETER_VALUE": SchemaError,
}


class MlflowStoreSource(OpenDataset):
    """A dataset of MLflow's store, which keeps only the newest version and no order.

    Args:
        entity: An `mlflow.entities.EvaluationDataset`.
    """

    accepts = "an MLflow dataset, its id, or its name with backend='mlflow'"
    backend = "mlflow"

    def __init__(self, entity: Any) -> None:
        import mlflow

        self._entity = entity
        self.name = entity.name
        self.version: str = entity.digest
        uri = re.sub(r"//[^/@]*@", "//***@", mlflow.get_tracking_uri())
        self.description = f"MLflow dataset {entity.dataset_id} in {uri}"

    @staticmethod
    def matches(source: Any, options: LoadOptions) -> bool:
        """See `DatasetSource`; MLflow's object, an id, or a name with ``backend="mlflow"``."""
        if isinstance(source, str):
            return options.backend == "mlflow" or _ID.fullmatch(source) is not None
        cls = type(source)
        return cls.__name__ == "EvaluationDataset" and cls.__module__.startswith("mlflow.")

    @classmethod
    def open(cls, source: Any, options: LoadOptions) -> OpenDataset:
        """Open the stored state of a dataset.

        Raises:
            NotFoundError: The dataset does not exist.
            ConfigurationError: Several datasets have this name.
        """
        mlflow = require("mlflow", extra="eval")
        if getattr(source, "_databricks_dataset", None) is not None:
            return TableSource.open(source.name, options)
        client = mlflow.MlflowClient()
        with mlflow_errors(f"MLflow dataset {source if isinstance(source, str) else ''}"):
            if not isinstance(source, str):
                return cls(client.get_dataset(source.dataset_id))
            if _ID.fullmatch(source):
                return cls(client.get_dataset(source))
            return cls(_only_one(source, _search(client, source)))

    def rows(self) -> Iterator[Mapping[str, Any] | SchemaError]:
        """See `OpenDataset`; read page by page."""
        return decode_rows(self._records(), lambda record: from_mlflow(record.to_dict()))

    def _records(self) -> Iterator[Any]:
        from mlflow.tracking._tracking_service.utils import _get_store

        store, token = _get_store(), None  # type: ignore[no-untyped-call]
        while True:
            with mlflow_errors(self.description):
                # `EvaluationDataset.records` loads all of them: 1.7 GB for 100,000 rows.
                page, token = store._load_dataset_records(
                    self._entity.dataset_id, _PAGE_SIZE, token
                )
            yield from page
            if not token:
                return

    def info(self) -> DatasetInfo:
        """See `OpenDataset`."""
        updated = datetime.fromtimestamp(self._entity.last_update_time / 1000, timezone.utc)
        return DatasetInfo(self._entity.dataset_id, self._entity.created_by, updated)

    def schema(self) -> dict[str, str]:
        """See `OpenDataset`; the same for all of MLflow's datasets."""
        return {"inputs": "json", "outputs": "json", "expectations": "json", "tags": "json"}

    def merge(self, records: Iterable[EvalRecord]) -> MlflowStoreSource:
        """Merge records with MLflow.

        Raises:
            SchemaError: MLflow rejected a record; nothing was merged.
        """
        import mlflow

        rows = [to_mlflow(record, index) for index, record in enumerate(records)]
        with mlflow_errors(self.description):
            if rows:
                self._entity.merge_records(rows)
            # MLflow 3.17 does not update the digest and the time of its object.
            return MlflowStoreSource(mlflow.MlflowClient().get_dataset(self._entity.dataset_id))

    def delete_records(self, ids: Collection[str]) -> tuple[MlflowStoreSource, int]:
        """See `SupportsDelete`."""
        import mlflow

        found = [
            record.dataset_record_id
            for record in self._records()
            if record.dataset_record_id in ids or record_key(record.inputs) in ids
        ]
        with mlflow_errors(self.description):
            # A page per statement: SQLite limits its parameters.
            for start in range(0, len(found), _PAGE_SIZE):
                self._entity.delete_records(found[start : start + _PAGE_SIZE])
            entity = mlflow.MlflowClient().get_dataset(self._entity.dataset_id)
        return MlflowStoreSource(entity), len(found)

    def drop(self) -> None:
        """See `SupportsDelete`."""
        import mlflow

        with mlflow_errors(self.description):
            mlflow.MlflowClient().delete_dataset(self._entity.dataset_id)

    def mlflow_source(self) -> Any:
        """See `OpenDataset`."""
        return self._entity.source


def export(name: str, records: Iterable[EvalRecord]) -> MlflowEvaluationDataset:
    """Create a dataset in MLflow's store, or merge into the one with this name.

    Returns:
        An `mlflow.genai.datasets.EvaluationDataset`.

    Raises:
        ConfigurationError: Several datasets have this name.
        SchemaError: MLflow rejected a record.
    """
    require("mlflow", extra="eval")
    from mlflow import MlflowClient
    from mlflow.genai.datasets import create_dataset, get_dataset

    with mlflow_errors(f"MLflow dataset {name}"):
        # `create_dataset` silently creates a second dataset with the same name.
        found = _search(MlflowClient(), name)
        entity = _only_one(name, found) if found else create_dataset(name=name)
        MlflowStoreSource(entity).merge(records)
        exported: MlflowEvaluationDataset = get_dataset(dataset_id=entity.dataset_id)
        return exported


@contextlib.contextmanager
def mlflow_errors(target: str) -> Iterator[None]:
    """Convert MLflow's errors to those of `langchain_dbx_eval.errors`.

    Args:
        target: What is accessed, as a phrase for messages.
    """
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        cls = _ERROR_BY_CODE.get(error.error_code, DatabricksError)
        raise cls(f"{target}: {str(error).splitlines()[0]}") from error


def _search(client: Any, name: str) -> list[Any]:
    quote = "'" if '"' in name else '"'
    found = client.search_datasets(
        filter_string=f"name = {quote}{name}{quote}",
        max_results=10,
        order_by=["created_time ASC"],
    )
    return list(found)


def _only_one(name: str, found: list[Any]) -> Any:
    if not found:
        msg = (
            f"MLflow's store has no dataset named {name!r}. Create it with "
            "EvalDataset.load(…).to_mlflow(name)."
        )
        raise NotFoundError(msg)
    if len(found) > 1:
        ids = ", ".join(entity.dataset_id for entity in found)
        msg = f"MLflow's store has several datasets named {name!r}. Load one by its id: {ids}."
        raise ConfigurationError(msg)
    return found[0]
