"""The table backend ``"delta"``: a table's files, read with credentials that Unity Catalog vends.

Each step is a call of databricks-sdk. deltalake's own ``uc://`` makes the same calls, and deadlocks
in more than half of new processes (deltalake 1.6.6; delta-io/delta-rs#3113).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from langchain_dbx_eval.datasets.base import LoadOptions
from langchain_dbx_eval.datasets.databricks.unity_catalog import (
    UnityCatalogTable,
    get_table_info,
    sdk_errors,
    workspace_client,
)
from langchain_dbx_eval.datasets.delta.reader import DeltaSource, open_delta
from langchain_dbx_eval.datasets.schema.table_name import TableName
from langchain_dbx_eval.errors import ConfigurationError, PermissionDeniedError

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.service.catalog import (
        GenerateTemporaryTableCredentialResponse,
        TableInfo,
    )

__all__ = ["VendedTable", "storage_options"]


class VendedTable(UnityCatalogTable, DeltaSource):
    """A table's files at one version; the credentials expire after about an hour."""

    backend = "delta"

    def __init__(self, name: TableName, info: TableInfo, **arguments: Any) -> None:
        self._table_info = info
        label = f"storage of {name}, {info.storage_location}"
        table = open_delta(info.storage_location or "", label=label, **arguments)
        super().__init__(table, label, str(name))

    @classmethod
    def is_default_for(cls, _: TableName, options: LoadOptions) -> bool:
        """See `TableBackend`; all tables, if a workspace is configured."""
        variables = ("DATABRICKS_HOST", "DATABRICKS_CONFIG_PROFILE")
        return options.workspace_client is not None or any(map(os.environ.get, variables))

    @classmethod
    def open(cls, name: TableName, options: LoadOptions) -> VendedTable:
        """Open a table.

        Raises:
            NotFoundError: The table or the version does not exist.
            PermissionDeniedError: Unity Catalog vends no credentials for the table.
            ConfigurationError: It is not a Delta table, or deltalake cannot use vended credentials
                for its storage.
        """
        client = workspace_client(options)
        info = get_table_info(client, name)
        data_format = info.data_source_format.value if info.data_source_format else None
        if data_format != "DELTA" or not info.storage_location:
            msg = (
                f"{name} is not a Delta table with its own files (it is {info.table_type}, "
                f"{data_format}). Read it with a SQL warehouse: warehouse_id=."
            )
            raise ConfigurationError(msg)
        arguments = storage_options(_vend_credentials(client, name, info), lambda: _region(client))
        if arguments is None:
            msg = (
                f"deltalake does not support vended credentials for the storage of {name}. Read "
                "the table with a SQL warehouse: warehouse_id=."
            )
            raise ConfigurationError(msg)
        return cls(name, info, version=options.version, options=arguments)


def storage_options(
    credentials: GenerateTemporaryTableCredentialResponse, region: Callable[[], str]
) -> dict[str, str] | None:
    """Convert vended credentials to deltalake's storage options.

    Args:
        credentials: Unity Catalog's response.
        region: Returns the bucket's region; called for AWS only.

    Returns:
        The options; None for storage that deltalake reads with long-lived keys only: Google's (1.6
        supports service accounts) and Cloudflare's (it does not support ``r2://``).
    """
    if (aws := credentials.aws_temp_credentials) is not None:
        return {
            "AWS_ACCESS_KEY_ID": aws.access_key_id or "",
            "AWS_SECRET_ACCESS_KEY": aws.secret_access_key or "",
            "AWS_SESSION_TOKEN": aws.session_token or "",
            "AWS_REGION": region(),
        }
    if (azure := credentials.azure_user_delegation_sas) is not None:
        # The table's abfss:// URI contains the account and the container.
        return {"AZURE_STORAGE_SAS_TOKEN": (azure.sas_token or "").removeprefix("?")}
    if (entra := credentials.azure_aad) is not None:
        return {"AZURE_STORAGE_TOKEN": entra.aad_token or ""}
    return None


def _vend_credentials(
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
            f"{error} Reading a table's files requires external data access on the metastore and "
            "EXTERNAL USE SCHEMA on the schema. A SQL warehouse needs neither: warehouse_id=."
        )
        raise PermissionDeniedError(msg, error_code=error.error_code) from error


def _region(client: WorkspaceClient) -> str:
    """Return ``AWS_REGION``, ``AWS_DEFAULT_REGION`` or the metastore's region.

    Vended credentials do not contain the region of the bucket.
    """
    if region := os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"):
        return region
    with sdk_errors("the metastore's region"):
        return client.metastores.summary().region or ""
