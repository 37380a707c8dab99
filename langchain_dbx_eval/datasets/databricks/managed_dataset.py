"""Databricks' managed evaluation datasets, which its UI shows: read by GET, grown by MLflow.

Never by `mlflow.genai.datasets.get_dataset`, which rewrites the table that it reads
(databricks-sdk-py#1418; databricks-agents 1.13). What MLflow would rewrite to grow is refused.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from langchain_dbx_eval.datasets.databricks.agents_client import agents_package, call_agents
from langchain_dbx_eval.datasets.databricks.unity_catalog import (
    sdk_errors,
    table_info,
    workspace_client,
)
from langchain_dbx_eval.datasets.open_dataset import DatasetInfo, LoadOptions, OpenDataset
from langchain_dbx_eval.datasets.record import EvalRecord
from langchain_dbx_eval.datasets.schema.mlflow_codec import from_managed, to_managed
from langchain_dbx_eval.datasets.schema.table_name import TableName
from langchain_dbx_eval.errors import (
    ConfigurationError,
    DatabricksError,
    NotFoundError,
    ServerError,
)

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient

__all__ = ["ManagedTable"]

_logger = logging.getLogger(__name__)

_DATASETS = "/api/2.0/managed-evals/datasets"
_PAGE = 500

Row = dict[str, Any]


class ManagedTable(OpenDataset):
    """A managed dataset, as it is now: its service pins no version.

    Args:
        name: The name of its table.
        client: The login.
        described: What the service says of it.
        reach: How it was asked for.
    """

    backend = "managed"

    def __init__(
        self,
        name: TableName,
        client: WorkspaceClient,
        described: Mapping[str, Any],
        reach: LoadOptions,
    ) -> None:
        self._name = name
        self._client = client
        self._described = described
        self._reach = reach
        self._path = f"{_DATASETS}/{described['dataset_id']}"
        self.name = str(name)
        self.description = f"managed dataset {name} in {client.config.host}"

    @classmethod
    def open(cls, name: TableName, reach: LoadOptions) -> ManagedTable:
        """Open a dataset; needs neither compute nor databricks-agents.

        Raises:
            NotFoundError: There is no such table, or it is no managed dataset.
            ConfigurationError: A version was asked for.
        """
        if reach.version is not None:
            msg = f"The managed route has no versions. Load {name} by a warehouse: warehouse_id=."
            raise ConfigurationError(msg)
        client = workspace_client(reach)
        table_id = table_info(client, name).table_id
        try:
            with sdk_errors(f"managed dataset {name}"):
                described: Any = client.api_client.do("GET", f"{_DATASETS}/{table_id}")
        except NotFoundError as error:
            msg = (
                f"{name} is a table, but no managed dataset: {error} "
                "Load it as a table, without backend='managed'."
            )
            raise NotFoundError(msg, error_code=error.error_code) from error
        return cls(name, client, {"dataset_id": table_id, **described}, reach)

    @classmethod
    def create(
        cls, name: TableName, records: Iterable[EvalRecord], reach: LoadOptions
    ) -> ManagedTable:
        """Create a dataset, in the experiment that is MLflow's current one.

        Raises:
            AlreadyExistsError: There is a table of this name.
            ConfigurationError: MLflow does not track on Databricks, or has no experiment.
            SchemaError: A record cannot be stored; nothing has been created then.
        """
        rows = _merged(records)
        agents_package()
        import mlflow
        from mlflow.genai.datasets import create_dataset

        # Elsewhere the same call makes a dataset of MLflow's own.
        if not mlflow.get_tracking_uri().startswith("databricks"):
            msg = (
                "A managed dataset belongs to an experiment on Databricks, and MLflow tracks in "
                f"{mlflow.get_tracking_uri()}. First: mlflow.set_tracking_uri('databricks') and "
                "mlflow.set_experiment('/Users/…'). For a plain table: backend='warehouse'."
            )
            raise ConfigurationError(msg)
        client = workspace_client(reach)
        call_agents(
            lambda: create_dataset(name=name.rest),
            where=f"managed dataset {name}",
            host=client.config.host,
            timeout=reach.timeout,
        )
        created = cls.open(name, reach)
        return created._grown(rows) if rows else created

    def rows(self) -> Iterator[Mapping[str, Any]]:
        """See `OpenDataset`, page by page."""
        for row in self._read():
            yield from_managed(row)

    def facts(self) -> DatasetInfo:
        """See `OpenDataset`."""
        moment = self._described.get("last_update_time")
        when = datetime.fromisoformat(moment.replace("Z", "+00:00")) if moment else None
        return DatasetInfo(self._described["dataset_id"], self._described.get("created_by"), when)

    def schema(self) -> dict[str, str]:
        """See `OpenDataset`; a managed dataset always has these."""
        return {"inputs": "json", "expectations": "json", "tags": "map<string,string>"}

    def mlflow_source(self) -> Any:
        """See `OpenDataset`."""
        from langchain_dbx_eval.datasets.mlflow_input import DeltaSourceOfInput

        return DeltaSourceOfInput(
            delta_table_name=self.name, delta_table_id=self._described["dataset_id"]
        )

    def merge(self, records: Iterable[EvalRecord]) -> ManagedTable:
        """Merge records by MLflow, and look whether they have arrived.

        Raises:
            SchemaError: A record cannot be stored; none has been added then.
            ConfigurationError: MLflow would rewrite the whole table to add to it.
            DatabricksError: Records were refused; merging them again is safe.
        """
        rows = _merged(records)
        return self._grown(rows) if rows else self

    def _grown(self, rows: list[Row]) -> ManagedTable:
        agents = agents_package()
        if self._described.get("is_uc_native") is not True:
            # Beyond here databricks-agents 1.13 replaces the table by what the service knows.
            msg = (
                f"Nothing was merged: {self._name} is a managed dataset of the older kind, which "
                "MLflow rewrites as a whole to add to it; rows that came another way would be "
                "lost. Copy it: EvalDataset.create('a.new.name', dataset)."
            )
            raise ConfigurationError(msg)
        from mlflow.genai import datasets

        wrapper: Any = datasets.EvaluationDataset
        handle = wrapper(
            agents.Dataset(
                dataset_id=self._described["dataset_id"], name=self._name.rest, is_uc_native=True
            )
        )
        heard = call_agents(
            lambda: handle.merge_records(rows),
            where=f"managed dataset {self._name}",
            host=self._client.config.host,
            timeout=self._reach.timeout,
        )
        self._check_arrival(rows, heard)
        return ManagedTable.open(self._name, self._reach)

    def _check_arrival(self, rows: list[Row], refusal: DatabricksError | None) -> None:
        """Look for the rows: databricks-agents 1.13 logs a refused batch, and returns.

        It also sends a batch again whose answer was lost, which nothing makes one.
        """
        there: dict[str, Row] = {}
        twice = set()
        for row in self._read():
            if there.setdefault(key := _key(row), row) is not row:
                twice.add(key)
        if twice:
            _logger.warning("%d records are more than once in %s.", len(twice), self._name)
        absent = [row for row in rows if not _holds(there.get(_key(row)), row)]
        if not absent:
            return
        msg = (
            f"{len(absent)} of {len(rows)} records did not reach {self._name}, "
            f"{json.dumps(absent[0]['inputs'], ensure_ascii=False)[:200]} for one. "
            f"Merge them again: what is there stays once. {refusal or ''}"
        )
        raise type(refusal)(msg) if refusal else ServerError(msg, retryable=True)

    def _read(self) -> Iterator[Row]:
        query: dict[str, Any] = {"page_size": _PAGE}
        while True:
            with sdk_errors(f"records of {self._name}"):
                page: Any = self._client.api_client.do("GET", f"{self._path}/records", query=query)
            for record in page.get("dataset_records", ()):
                expectations = record.get("expectations") or {}
                yield {
                    "inputs": {pair["key"]: pair.get("value") for pair in record["inputs"]},
                    "expectations": {k: held.get("value") for k, held in expectations.items()},
                    "tags": record.get("tags") or {},
                }
            if not page.get("next_page_token"):
                return
            query["page_token"] = page["next_page_token"]


def _merged(records: Iterable[EvalRecord]) -> list[Row]:
    """Records as the service's rows, those with the same inputs made one, as MLflow does it."""
    rows: dict[str, Row] = {}
    for number, record in enumerate(records):
        row = to_managed(record, number)
        before = rows.setdefault(_key(row), row)
        for name in ("expectations", "tags"):
            if before is not row and row.get(name):
                before[name] = {**before.get(name, {}), **row[name]}
    return list(rows.values())


def _key(row: Row) -> str:
    return json.dumps(_as_doubles(row["inputs"]), sort_keys=True)


def _as_doubles(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _as_doubles(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_as_doubles(inner) for inner in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _holds(there: Row | None, row: Row) -> bool:
    """Whether all that a row says is in the one that is there."""
    return there is not None and all(
        there[name].get(key) == value
        for name in ("expectations", "tags")
        for key, value in (row.get(name) or {}).items()
    )
