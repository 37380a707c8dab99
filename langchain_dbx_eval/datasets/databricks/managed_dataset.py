"""The table backend ``"managed"``: Databricks' managed evaluation datasets, shown in its UI.

They are read by GET requests, and merged into by MLflow. `mlflow.genai.datasets.get_dataset` is
never called: it rewrites the table that it reads (databricks-sdk-py#1418; databricks-agents 1.13).
A merge for which MLflow would rewrite the table is rejected.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from langchain_dbx_eval._internal.log import get_logger
from langchain_dbx_eval.datasets.base import DatasetInfo, LoadOptions
from langchain_dbx_eval.datasets.databricks.agents_client import agents_package, call_agents
from langchain_dbx_eval.datasets.databricks.unity_catalog import (
    UnityCatalogTable,
    get_table_info,
    sdk_errors,
    workspace_client,
)
from langchain_dbx_eval.datasets.record import EvalRecord, record_key
from langchain_dbx_eval.datasets.schema.mlflow_codec import from_managed, map_numbers, to_managed
from langchain_dbx_eval.datasets.schema.row_codec import KEY, Row
from langchain_dbx_eval.datasets.schema.table_name import TableName
from langchain_dbx_eval.datasets.schema.validation import decode_rows
from langchain_dbx_eval.errors import (
    ConfigurationError,
    DatabricksError,
    NotFoundError,
    SchemaError,
    ServerError,
)

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient

__all__ = ["ManagedTable"]

_logger = get_logger(__name__)

_DATASETS = "/api/2.0/managed-evals/datasets"
_PAGE_SIZE = 500


class ManagedTable(UnityCatalogTable):
    """A managed dataset, always at its newest state: the service has no versions.

    Args:
        name: The name of its table.
        client: The workspace client.
        dataset: The service's description of it.
        options: The options that it was opened with.
    """

    backend = "managed"

    def __init__(
        self,
        name: TableName,
        client: WorkspaceClient,
        dataset: Mapping[str, Any],
        options: LoadOptions,
    ) -> None:
        self._name = name
        self._client = client
        self._dataset = dataset
        self._options = options
        self.name = str(name)
        self.description = f"managed dataset {name} in {client.config.host}"

    @classmethod
    def is_default_for(cls, _: TableName, __: LoadOptions) -> bool:
        """See `TableBackend`; never."""
        return False

    @classmethod
    def open(cls, name: TableName, options: LoadOptions) -> ManagedTable:
        """Open a dataset; needs neither compute nor databricks-agents.

        Raises:
            NotFoundError: The table does not exist, or is not a managed dataset.
            ConfigurationError: A version is given.
        """
        if options.version is not None:
            msg = (
                f"backend='managed' has no versions. Load {name} with a SQL warehouse: "
                "warehouse_id=."
            )
            raise ConfigurationError(msg)
        client = workspace_client(options)
        table_id = get_table_info(client, name).table_id
        try:
            with sdk_errors(f"managed dataset {name}"):
                dataset: Any = client.api_client.do("GET", f"{_DATASETS}/{table_id}")
        except NotFoundError as error:
            msg = (
                f"{name} is a table, but not a managed dataset: {error} "
                "Load it as a table, without backend='managed'."
            )
            raise NotFoundError(msg, error_code=error.error_code) from error
        return cls(name, client, {"dataset_id": table_id, **dataset}, options)

    @classmethod
    def create(
        cls, name: TableName, records: Iterable[EvalRecord], options: LoadOptions
    ) -> ManagedTable:
        """Create a dataset in MLflow's current experiment.

        Raises:
            AlreadyExistsError: A table of this name exists.
            ConfigurationError: MLflow's tracking server is not Databricks, or no experiment is set.
            SchemaError: A record cannot be stored; the dataset was not created.
        """
        rows = _encode(records)
        agents_package()
        import mlflow
        from mlflow.genai.datasets import create_dataset

        # With another tracking server, `create_dataset` creates a dataset in MLflow's own store.
        if not mlflow.get_tracking_uri().startswith("databricks"):
            msg = (
                "A managed dataset belongs to an experiment on Databricks, but MLflow's tracking "
                f"URI is {mlflow.get_tracking_uri()}. Call mlflow.set_tracking_uri('databricks') "
                "and mlflow.set_experiment('/Users/…'). For a plain table: backend='warehouse'."
            )
            raise ConfigurationError(msg)
        client = workspace_client(options)
        call_agents(
            lambda: create_dataset(name=name.rest),
            target=f"managed dataset {name}",
            host=client.config.host,
            timeout=options.timeout,
        )
        return cls.open(name, options)._merge_rows(rows)

    def rows(self) -> Iterator[Mapping[str, Any] | SchemaError]:
        """See `OpenDataset`; read page by page."""
        return decode_rows(self._read(), from_managed)

    def info(self) -> DatasetInfo:
        """See `OpenDataset`."""
        updated = self._dataset.get("last_update_time")
        return DatasetInfo(
            self._dataset["dataset_id"],
            self._dataset.get("created_by"),
            datetime.fromisoformat(updated.replace("Z", "+00:00")) if updated else None,
        )

    def schema(self) -> dict[str, str]:
        """See `OpenDataset`; the same for all managed datasets."""
        return {"inputs": "json", "expectations": "json", "tags": "map<string,string>"}

    def merge(self, records: Iterable[EvalRecord]) -> ManagedTable:
        """Merge records with MLflow, and verify that they were stored.

        Raises:
            SchemaError: A record cannot be stored; nothing was merged.
            ConfigurationError: MLflow would rewrite the whole table.
            DatabricksError: Records were rejected; merging them again is safe.
        """
        return self._merge_rows(_encode(records))

    def delete_records(self, ids: Collection[str]) -> tuple[ManagedTable, int]:
        """See `SupportsDelete`.

        Raises:
            ConfigurationError: It is a dataset of the older type.
            DatabricksError: Records were not deleted; deleting them again is safe.
        """
        found = self._find(ids)
        if not found:
            return self, 0
        dataset = self._agents_dataset("deleted")
        logged_error = self._call(lambda: dataset.delete_records(found))
        if remaining := self._find(ids):
            msg = f"{len(remaining)} of {len(found)} records were not deleted from {self._name}."
            msg = f"{msg} Delete them again. {logged_error or ''}"
            raise type(logged_error)(msg) if logged_error else ServerError(msg, retryable=True)
        return ManagedTable.open(self._name, self._options), len(found)

    def drop(self) -> None:
        """See `SupportsDelete`; deletes the dataset and its table.

        Raises:
            DatabricksError: The request was rejected.
        """
        agents = agents_package()
        self._call(lambda: agents.delete_dataset(self._name.rest))

    def _find(self, ids: Collection[str]) -> list[str]:
        return [
            row[KEY]
            for row in self._read()
            if row[KEY] in ids or record_key(from_managed(row)["inputs"]) in ids
        ]

    def _merge_rows(self, rows: list[Row]) -> ManagedTable:
        if not rows:
            return self
        dataset = self._agents_dataset("merged")
        from mlflow.genai import datasets

        wrapper: Any = datasets.EvaluationDataset
        logged_error = self._call(lambda: wrapper(dataset).merge_records(rows))
        self._verify(rows, logged_error)
        return ManagedTable.open(self._name, self._options)

    def _agents_dataset(self, operation: str) -> Any:
        """Return the dataset of databricks-agents.

        Raises:
            ConfigurationError: It is a dataset of the older type.
        """
        agents = agents_package()
        if self._dataset.get("is_uc_native") is not True:
            # For these, databricks-agents 1.13 replaces the table by the rows of the service.
            msg = (
                f"Nothing was {operation}: {self._name} is a managed dataset of the older type. "
                "MLflow rewrites the whole table to change it, and would lose rows that were "
                "written otherwise. Copy it: EvalDataset.create('a.new.name', dataset)."
            )
            raise ConfigurationError(msg)
        return agents.Dataset(
            dataset_id=self._dataset["dataset_id"], name=self._name.rest, is_uc_native=True
        )

    def _call(self, action: Callable[[], object]) -> DatabricksError | None:
        return call_agents(
            action,
            target=f"managed dataset {self._name}",
            host=self._client.config.host,
            timeout=self._options.timeout,
        )

    def _verify(self, rows: list[Row], logged_error: DatabricksError | None) -> None:
        """Raise if a row was not stored: databricks-agents 1.13 only logs a rejected batch.

        It also repeats a batch whose response was lost, which stores its rows twice.
        """
        stored: dict[str, Row] = {}
        duplicates = set()
        for row in self._read():
            if stored.setdefault(key := _key_of(row), row) is not row:
                duplicates.add(key)
        if duplicates:
            _logger.warning("%d records are duplicated in %s.", len(duplicates), self._name)
        missing = [row for row in rows if not _contains(stored.get(_key_of(row)), row)]
        if not missing:
            return
        msg = (
            f"{len(missing)} of {len(rows)} records were not stored in {self._name}, such as "
            f"{json.dumps(missing[0]['inputs'], ensure_ascii=False)[:200]}. "
            f"Merge them again: stored records are not duplicated. {logged_error or ''}"
        )
        raise type(logged_error)(msg) if logged_error else ServerError(msg, retryable=True)

    def _read(self) -> Iterator[Row]:
        path = f"{_DATASETS}/{self._dataset['dataset_id']}/records"
        query: dict[str, Any] = {"page_size": _PAGE_SIZE}
        while True:
            with sdk_errors(f"records of {self._name}"):
                page: Any = self._client.api_client.do("GET", path, query=query)
            for record in page.get("dataset_records", ()):
                expectations = record.get("expectations") or {}
                yield {
                    KEY: record["dataset_record_id"],
                    "inputs": {pair["key"]: pair.get("value") for pair in record["inputs"]},
                    "expectations": {k: item.get("value") for k, item in expectations.items()},
                    "tags": record.get("tags") or {},
                }
            if not page.get("next_page_token"):
                return
            query["page_token"] = page["next_page_token"]


def _encode(records: Iterable[EvalRecord]) -> list[Row]:
    """Encode records as the service's rows; rows with the same inputs are merged as MLflow does."""
    rows: dict[str, Row] = {}
    for index, record in enumerate(records):
        row = to_managed(record, index)
        first = rows.setdefault(_key_of(row), row)
        for name in ("expectations", "tags"):
            if first is not row and row.get(name):
                first[name] = {**first.get(name, {}), **row[name]}
    return list(rows.values())


def _key_of(row: Row) -> str:
    return json.dumps(map_numbers(row["inputs"], float), sort_keys=True)


def _contains(stored: Row | None, row: Row) -> bool:
    """Return whether a stored row contains all expectations and tags of a row."""
    return stored is not None and all(
        stored[name].get(key) == value
        for name in ("expectations", "tags")
        for key, value in (row.get(name) or {}).items()
    )
