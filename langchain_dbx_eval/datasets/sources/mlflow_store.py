"""MLflow's own evaluation datasets, in its SQL store: read, grown, and made of ours.

Not those of Databricks: `mlflow.genai.datasets.get_dataset` rewrites the table that it reads there
(databricks-sdk-py#1418). They are Unity Catalog tables, and are read as such.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timezone
from typing import Any

from langchain_dbx_eval._internal.extras import require
from langchain_dbx_eval.datasets.open_dataset import DatasetInfo, LoadOptions, OpenDataset
from langchain_dbx_eval.datasets.record import EvalRecord
from langchain_dbx_eval.datasets.schema.mlflow_codec import from_mlflow, to_mlflow
from langchain_dbx_eval.datasets.sources.table_resolver import NamedSource
from langchain_dbx_eval.errors import (
    AlreadyExistsError,
    ConfigurationError,
    DatabricksError,
    NotFoundError,
    SchemaError,
)

__all__ = ["MlflowDatasetSource", "export", "mlflow_errors"]

_ID = re.compile(r"d-[0-9a-f]{32}")
_PAGE = 1_000


class MlflowDatasetSource(OpenDataset):
    """A dataset of MLflow's store. MLflow keeps one version, and no order."""

    backend = "mlflow"

    def __init__(self, entity: Any) -> None:
        import mlflow

        self._entity = entity
        self.name = entity.name
        self.version: str = entity.digest
        where = mlflow.get_tracking_uri()
        self.description = f"MLflow dataset {entity.dataset_id} in {_without_password(where)}"

    @staticmethod
    def matches(source: Any) -> bool:
        """Whether the source is MLflow's object or the id of one."""
        if isinstance(source, str):
            return _ID.fullmatch(source) is not None
        kind = type(source)
        return kind.__name__ == "EvaluationDataset" and kind.__module__.startswith("mlflow.")

    @classmethod
    def open(cls, source: Any, reach: LoadOptions) -> OpenDataset:
        """Open a dataset by its object, its id, or its name; never a stale copy of it.

        Raises:
            NotFoundError: There is none.
            ConfigurationError: There are several of this name.
        """
        mlflow = require("mlflow", extra="eval")
        if getattr(source, "_databricks_dataset", None) is not None:
            return NamedSource.open(source.name, reach)
        client = mlflow.MlflowClient()
        with mlflow_errors(f"MLflow dataset {source if isinstance(source, str) else ''}"):
            if not isinstance(source, str):
                return cls(client.get_dataset(source.dataset_id))
            if _ID.fullmatch(source):
                return cls(client.get_dataset(source))
            return cls(_only_one(source, _named(client, source)))

    def rows(self) -> Iterator[Mapping[str, Any]]:
        """See `OpenDataset`, page by page."""
        from mlflow.tracking._tracking_service.utils import _get_store

        store, token = _get_store(), None  # type: ignore[no-untyped-call]
        while True:
            with mlflow_errors(self.description):
                # `EvaluationDataset.records` would hold all of them: 1.7 GB for 100,000 rows.
                page, token = store._load_dataset_records(self._entity.dataset_id, _PAGE, token)
            for record in page:
                yield from_mlflow(record.to_dict())
            if not token:
                return

    def facts(self) -> DatasetInfo:
        """See `OpenDataset`."""
        moment = datetime.fromtimestamp(self._entity.last_update_time / 1000, timezone.utc)
        return DatasetInfo(self._entity.dataset_id, self._entity.created_by, moment)

    def schema(self) -> dict[str, str]:
        """See `OpenDataset`; MLflow's columns are always these."""
        return {"inputs": "json", "outputs": "json", "expectations": "json", "tags": "json"}

    def merge(self, records: Iterable[EvalRecord]) -> OpenDataset:
        """Merge records, as MLflow does it.

        Raises:
            SchemaError: MLflow refuses a record; none has been added then.
        """
        import mlflow

        rows = [to_mlflow(record, number) for number, record in enumerate(records)]
        with mlflow_errors(self.description):
            if rows:
                self._entity.merge_records(rows)
            # MLflow 3.17 leaves digest and time of its object as they were before the merge.
            return MlflowDatasetSource(mlflow.MlflowClient().get_dataset(self._entity.dataset_id))

    def mlflow_source(self) -> Any:
        """See `OpenDataset`."""
        return self._entity.source


def export(name: str, records: Iterable[EvalRecord]) -> Any:
    """Make an MLflow dataset, or merge into the one of this name.

    Returns:
        An `mlflow.genai.datasets.EvaluationDataset`.

    Raises:
        ConfigurationError: There are several of this name.
        SchemaError: MLflow refuses a record.
    """
    require("mlflow", extra="eval")
    from mlflow import MlflowClient
    from mlflow.genai.datasets import create_dataset, get_dataset

    with mlflow_errors(f"MLflow dataset {name}"):
        # MLflow's create_dataset makes a second one of the same name without a word.
        found = _named(MlflowClient(), name)
        entity = _only_one(name, found) if found else create_dataset(name=name)
        MlflowDatasetSource(entity).merge(records)
        return get_dataset(dataset_id=entity.dataset_id)


@contextlib.contextmanager
def mlflow_errors(where: str) -> Iterator[None]:
    """Turn what MLflow raises into our errors."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        words = f"{where}: {str(error).splitlines()[0]}"
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            raise NotFoundError(words) from error
        if error.error_code == "RESOURCE_ALREADY_EXISTS":
            raise AlreadyExistsError(words) from error
        if error.error_code == "INVALID_PARAMETER_VALUE":
            raise SchemaError(words) from error
        raise DatabricksError(words) from error


def _named(client: Any, name: str) -> list[Any]:
    quote = "'" if '"' in name else '"'
    found = client.search_datasets(
        filter_string=f"name = {quote}{name}{quote}",
        max_results=10,
        order_by=["created_time ASC"],
    )
    return list(found)


def _only_one(name: str, found: list[Any]) -> Any:
    if not found:
        msg = f"MLflow's store has no dataset named {name!r}. EvalDataset.load(…).to_mlflow(name)"
        raise NotFoundError(f"{msg} makes one.")
    if len(found) > 1:
        ids = ", ".join(entity.dataset_id for entity in found)
        msg = f"MLflow's store has several datasets named {name!r}. Load one by its id: {ids}."
        raise ConfigurationError(msg)
    return found[0]


def _without_password(uri: str) -> str:
    return re.sub(r"//[^/@]*@", "//***@", uri)
