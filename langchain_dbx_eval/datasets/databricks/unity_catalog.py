"""Unity Catalog by databricks-sdk: the client, the metadata of a table, and the SDK's errors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime, timezone
from math import ceil
from typing import TYPE_CHECKING, Any

from langchain_dbx_eval.datasets.base import DatasetInfo, LoadOptions, OpenDataset
from langchain_dbx_eval.datasets.schema.table_name import TableName
from langchain_dbx_eval.errors import (
    AlreadyExistsError,
    AuthenticationError,
    ConnectionFailedError,
    DatabricksError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    RequestTimeoutError,
    ServerError,
)

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.service.catalog import TableInfo

__all__ = ["UnityCatalogTable", "get_table_info", "sdk_errors", "workspace_client"]

# Seconds for one request, and for the SDK's own retries of 429 and 503.
_MAX_SDK_TIMEOUT = 60


def workspace_client(options: LoadOptions) -> WorkspaceClient:
    """Return a client whose requests and retries end within `options.timeout`.

    Raises:
        AuthenticationError: No login is configured.
    """
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.core import Config

    seconds = min(_MAX_SDK_TIMEOUT, options.timeout)
    # At least 1: the SDK replaces 0 by its defaults, 60 and 300 seconds.
    limits: dict[str, Any] = {
        "http_timeout_seconds": max(1, seconds),
        "retry_timeout_seconds": ceil(seconds),
    }
    try:
        client = options.workspace_client
        # The constructor sends requests too. Not `copy()`, which shares its settings with the
        # original (databricks-sdk 0.156).
        config = Config(**limits) if client is None else client.config.deep_copy()
        if not config.host:
            raise ValueError("no host")
    except ValueError as error:
        msg = (
            "No Databricks login was found. Set DATABRICKS_HOST and DATABRICKS_TOKEN, run "
            f"`databricks auth login`, or pass workspace_client=. The SDK's error: {error}"
        )
        raise AuthenticationError(msg) from error
    for name, limit in limits.items():
        setattr(config, name, limit)
    return WorkspaceClient(config=config)


def get_table_info(client: WorkspaceClient, name: TableName) -> TableInfo:
    """Return Unity Catalog's metadata of a table, which needs no compute.

    Raises:
        NotFoundError: The table does not exist, or is not visible.
        PermissionDeniedError: The table may not be read.
    """
    with sdk_errors(f"table {name} in {client.config.host}"):
        return client.tables.get(name.rest)


class UnityCatalogTable(OpenDataset):
    """A table with metadata in Unity Catalog."""

    version: int | None = None
    _table_info: TableInfo | None = None

    def info(self) -> DatasetInfo:
        """See `OpenDataset`."""
        table = self._table_info
        if table is None:
            return DatasetInfo()
        updated = None
        if table.updated_at is not None:
            updated = datetime.fromtimestamp(table.updated_at / 1000, timezone.utc)
        return DatasetInfo(table.table_id, table.created_by, updated)

    def mlflow_source(self) -> Any:
        """See `OpenDataset`."""
        from langchain_dbx_eval.datasets.mlflow_input import PinnedDeltaSource

        return PinnedDeltaSource(
            delta_table_name=self.name,
            delta_table_version=self.version,
            delta_table_id=self.info().dataset_id,
        )


@contextlib.contextmanager
def sdk_errors(target: str) -> Iterator[None]:
    """Convert databricks-sdk's errors to those of `langchain_dbx_eval.errors`.

    Args:
        target: What is requested, as a phrase for messages.

    Raises:
        DatabricksError: The class depends on the SDK's error.
    """
    from databricks.sdk import errors as sdk
    from databricks.sdk.errors.base import DatabricksError as SdkError

    try:
        yield
    except SdkError as error:
        classes: tuple[tuple[type[Exception], type[DatabricksError]], ...] = (
            (sdk.NotFound, NotFoundError),
            (sdk.PermissionDenied, PermissionDeniedError),
            (sdk.Unauthenticated, AuthenticationError),
            (sdk.AlreadyExists, AlreadyExistsError),
            (sdk.ResourceAlreadyExists, AlreadyExistsError),
            (sdk.TooManyRequests, RateLimitError),
            (sdk.InternalError, ServerError),
            (sdk.TemporarilyUnavailable, ServerError),
        )
        typed = (own for theirs, own in classes if isinstance(error, theirs))
        # The SDK appends its whole configuration to the reason.
        reason = str(error).split(" Config: ")[0]
        msg = f"Databricks rejected the request for {target}: {reason}"
        raise next(typed, InvalidRequestError)(msg, error_code=error.error_code) from error
    except TimeoutError as error:
        # The last error that the SDK retried is only in the cause.
        cause: Any = error.__cause__ or error
        msg = f"Databricks did not answer the request for {target} in time. Last error: {cause}"
        raise RequestTimeoutError(msg) from error
    except ValueError as error:
        msg = (
            f"Cannot authenticate to Databricks (request for {target}): {error} Check "
            "DATABRICKS_HOST and the credentials, or pass workspace_client=."
        )
        raise AuthenticationError(msg) from error
    except OSError as error:
        msg = f"Cannot connect to Databricks for {target}: {error}"
        raise ConnectionFailedError(msg) from error
