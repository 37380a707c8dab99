"""The table backend ``"warehouse"``: SQL in a SQL warehouse."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from langchain_dbx_eval._internal.imports import require
from langchain_dbx_eval.datasets.base import LoadOptions
from langchain_dbx_eval.datasets.databricks.row_upload import (
    ParameterUploader,
    RowUploader,
    VolumeUploader,
    volume_folder,
)
from langchain_dbx_eval.datasets.databricks.sql_table import SqlTable
from langchain_dbx_eval.datasets.databricks.statement_execution import Statement
from langchain_dbx_eval.datasets.databricks.unity_catalog import get_table_info, workspace_client
from langchain_dbx_eval.datasets.delta.reader import read_batches
from langchain_dbx_eval.datasets.record import EvalRecord
from langchain_dbx_eval.datasets.schema.table_name import TableName
from langchain_dbx_eval.errors import ConfigurationError, PermissionDeniedError

if TYPE_CHECKING:
    from databricks.sdk.service.catalog import TableInfo

__all__ = ["WarehouseEngine", "WarehouseTable"]


class WarehouseTable(SqlTable):
    """A table that is read and merged into by a SQL warehouse."""

    backend = "warehouse"

    @classmethod
    def is_default_for(cls, _: TableName, options: LoadOptions) -> bool:
        """See `TableBackend`; all tables, if a warehouse is configured."""
        return options.configured_warehouse_id is not None

    @classmethod
    def open(cls, name: TableName, options: LoadOptions) -> WarehouseTable:
        """Open a table.

        Raises:
            ConfigurationError: No warehouse is configured.
            NotFoundError: The table, the version or the warehouse does not exist.
            WarehouseError: The warehouse did not start.
        """
        return cls(name, WarehouseEngine(options), options.version)

    @classmethod
    def create(
        cls, name: TableName, records: Iterable[EvalRecord], options: LoadOptions
    ) -> WarehouseTable:
        """Create a table; see `SupportsCreate`."""
        return cls._create(name, records, WarehouseEngine(options))


class WarehouseEngine:
    """A SQL warehouse as a `SqlEngine`.

    Args:
        options: The warehouse, the login, and the timeout of each statement.

    Raises:
        ConfigurationError: No warehouse is configured.
        AuthenticationError: No login is configured.
    """

    def __init__(self, options: LoadOptions) -> None:
        volume = options.volume or os.environ.get("DBX_EVAL_VOLUME")
        self._volume = volume_folder(volume) if volume else None
        self._client = workspace_client(options)
        if options.configured_warehouse_id is None:
            msg = (
                "No SQL warehouse is configured. Pass warehouse_id=, or set "
                "DATABRICKS_WAREHOUSE_ID. The warehouse's page in the workspace, under SQL "
                "Warehouses, shows the id beside its name."
            )
            raise ConfigurationError(msg)
        self._warehouse_id = options.configured_warehouse_id
        self._timeout = options.timeout
        self.label = f"SQL warehouse '{self._warehouse_id}'"

    def table_info(self, name: TableName) -> TableInfo | None:
        """See `SqlEngine`; does not start the warehouse.

        Raises:
            NotFoundError: The table does not exist.
        """
        try:
            return get_table_info(self._client, name)
        except PermissionDeniedError:
            return None

    def query(self, sql: str, /, **parameters: str | None) -> Iterator[Any]:
        """See `SqlEngine`.

        Raises:
            WarehouseError: The warehouse did not start, or the statement failed.
            NotFoundError: A table does not exist.
            InvalidResponseError: A part of the result is missing.
        """
        require("pyarrow", extra="delta")
        yield from read_batches(self._statement().query(sql, parameters))

    def execute(self, sql: str, /, **parameters: str | None) -> None:
        """See `SqlEngine`.

        The SDK repeats a request whose response was lost, and the API has no idempotency key.

        Raises:
            WarehouseError: The warehouse did not start, or the statement failed.
            AlreadyExistsError: The table to be created exists.
        """
        self._statement().execute(sql, parameters)

    def uploader(self, size: int) -> RowUploader:
        """See `SqlEngine`; a volume, if one is configured and a parameter would be too large."""
        parameters = ParameterUploader()
        if self._volume is None or size <= parameters.batch_bytes:
            return parameters
        return VolumeUploader(self._client, self._volume)

    def _statement(self) -> Statement:
        return Statement(self._client, self._warehouse_id, self._timeout)
