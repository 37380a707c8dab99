"""A Unity Catalog table read from its storage, with short-lived credentials that the catalog vends.

The steps are made one by one with databricks-sdk. deltalake's own ``uc://`` makes the same ones,
and deadlocks in more than half of fresh processes (deltalake 1.6.6; delta-io/delta-rs#3113).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from langchain_dbx_eval.datasets.databricks.unity_catalog import (
    facts_of,
    sdk_errors,
    table_info,
    workspace_client,
)
from langchain_dbx_eval.datasets.delta.reader import DeltaSource, open_delta
from langchain_dbx_eval.datasets.open_dataset import DatasetInfo, LoadOptions
from langchain_dbx_eval.datasets.schema.table_name import TableName
from langchain_dbx_eval.errors import ConfigurationError, PermissionDeniedError

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.service.catalog import (
        GenerateTemporaryTableCredentialResponse,
        TableInfo,
    )

__all__ = ["VendedTable", "storage_options"]


class VendedTable(DeltaSource):
    """A table's files at one version; the credentials are good for about an hour."""

    backend = "delta"

    def __init__(self, name: TableName, info: TableInfo, **options: Any) -> None:
        self._info = info
        where = f"storage of {name}, {info.storage_location}"
        super().__init__(
            open_delta(info.storage_location or "", where=where, **options), where, str(name)
        )

    @classmethod
    def open(cls, name: TableName, reach: LoadOptions) -> VendedTable:
        """Open a table.

        Raises:
            NotFoundError: There is no such table, or version.
            PermissionDeniedError: The catalog gives no credentials for it.
            ConfigurationError: It is no Delta table, or lies where no credentials are for.
        """
        client = workspace_client(reach)
        info = table_info(client, name)
        kind = info.data_source_format.value if info.data_source_format else None
        if kind != "DELTA" or not info.storage_location:
            msg = (
                f"{name} is no Delta table with files of its own (it is {info.table_type}, "
                f"{kind}). Read it by a warehouse: warehouse_id=."
            )
            raise ConfigurationError(msg)
        credentials = _credentials(client, name, info)
        options = storage_options(credentials, lambda: _region(client))
        if options is None:
            msg = (
                f"{name} lies in a store that deltalake cannot enter with short-lived credentials. "
                "Read it by a warehouse: warehouse_id=."
            )
            raise ConfigurationError(msg)
        return cls(name, info, version=reach.version, options=options)

    def facts(self) -> DatasetInfo:
        """See `OpenDataset`."""
        return facts_of(self._info)

    def mlflow_source(self) -> Any:
        """See `OpenDataset`."""
        from langchain_dbx_eval.datasets.mlflow_input import DeltaSourceOfInput

        return DeltaSourceOfInput(
            delta_table_name=self.name,
            delta_table_version=self.version,
            delta_table_id=self._info.table_id,
        )


def _credentials(
    client: WorkspaceClient, name: TableName, info: TableInfo
) -> GenerateTemporaryTableCredentialResponse:
    from databricks.sdk.service.catalog import TableOperation

    try:
        with sdk_errors(f"credentials for {name}"):
            return client.temporary_table_credentials.generate_temporary_table_credentials(
                operation=TableOperation.READ, table_id=info.table_id
            )
    except PermissionDeniedError as error:
        msg = (
            f"{error} Reading a table's files needs external data access on the metastore and "
            "EXTERNAL USE SCHEMA on the schema. Without them read by a warehouse: warehouse_id=."
        )
        raise PermissionDeniedError(msg, error_code=error.error_code) from error


def storage_options(
    credentials: GenerateTemporaryTableCredentialResponse, region: Callable[[], str]
) -> dict[str, str] | None:
    """Vended credentials under the names that deltalake gives them.

    Args:
        credentials: What Unity Catalog vended.
        region: The bucket's region, asked for where it is needed.

    Returns:
        The options; None for a store that deltalake enters with long-lived keys only: Google's
        (1.6 takes service accounts) and Cloudflare's (it knows no ``r2://``).
    """
    if (aws := credentials.aws_temp_credentials) is not None:
        return {
            "AWS_ACCESS_KEY_ID": aws.access_key_id or "",
            "AWS_SECRET_ACCESS_KEY": aws.secret_access_key or "",
            "AWS_SESSION_TOKEN": aws.session_token or "",
            "AWS_REGION": region(),
        }
    if (azure := credentials.azure_user_delegation_sas) is not None:
        # The account and the container are in the table's abfss:// address.
        return {"AZURE_STORAGE_SAS_TOKEN": (azure.sas_token or "").removeprefix("?")}
    if (entra := credentials.azure_aad) is not None:
        return {"AZURE_STORAGE_TOKEN": entra.aad_token or ""}
    return None


def _region(client: WorkspaceClient) -> str:
    """The bucket's region, which credentials do not tell; a table lies in its metastore's."""
    if chosen := os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"):
        return chosen
    with sdk_errors("the metastore's region"):
        return client.metastores.summary().region or ""
