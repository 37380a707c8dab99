"""Unity Catalog by databricks-sdk: a client with a deadline, a table's facts, and our errors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from langchain_dbx_eval.datasets.open_dataset import DatasetInfo, LoadOptions
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

__all__ = ["facts_of", "sdk_errors", "table_info", "workspace_client"]

# The SDK retries 429 and 503 for so long by itself; ours is the shorter of this and the deadline.
_RETRY_SECONDS = 60


def workspace_client(reach: LoadOptions) -> WorkspaceClient:
    """A client of the workspace whose requests give up when the time that was asked for is over.

    Raises:
        AuthenticationError: There is no login.
    """
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.core import Config

    try:
        given = reach.workspace_client
        # Not `copy()`, which shares the settings with its original (databricks-sdk 0.156).
        config = Config() if given is None else given.config.deep_copy()
        if not config.host:
            raise ValueError("no host")
    except ValueError as error:
        msg = (
            "No Databricks login was found. Set DATABRICKS_HOST and DATABRICKS_TOKEN, run "
            f"`databricks auth login`, or pass workspace_client=. The SDK says: {error}"
        )
        raise AuthenticationError(msg) from error
    # At least 1: the SDK takes 0 for its defaults, 60 and 300 seconds.
    config.http_timeout_seconds = max(1, min(60, reach.timeout))
    config.retry_timeout_seconds = max(1, int(min(_RETRY_SECONDS, reach.timeout)))
    return WorkspaceClient(config=config)


def table_info(client: WorkspaceClient, name: TableName) -> TableInfo:
    """What Unity Catalog knows of a table; asking needs no compute.

    Raises:
        NotFoundError: There is no such table, or it may not be seen.
        PermissionDeniedError: It may not be read.
    """
    with sdk_errors(f"table {name} in {client.config.host}"):
        return client.tables.get(name.rest)


def facts_of(info: TableInfo | None) -> DatasetInfo:
    """The facts of a table's description."""
    if info is None:
        return DatasetInfo()
    moment = None
    if info.updated_at is not None:
        moment = datetime.fromtimestamp(info.updated_at / 1000, timezone.utc)
    return DatasetInfo(info.table_id, info.created_by, moment)


@contextlib.contextmanager
def sdk_errors(where: str) -> Iterator[None]:
    """Turn what databricks-sdk raises into our errors.

    Args:
        where: What was asked, in words.
    """
    from databricks.sdk import errors as sdk
    from databricks.sdk.errors.base import DatabricksError as SdkError

    try:
        yield
    except SdkError as error:
        kinds: tuple[tuple[type[Exception], type[DatabricksError]], ...] = (
            (sdk.NotFound, NotFoundError),
            (sdk.PermissionDenied, PermissionDeniedError),
            (sdk.Unauthenticated, AuthenticationError),
            (sdk.AlreadyExists, AlreadyExistsError),
            (sdk.ResourceAlreadyExists, AlreadyExistsError),
            (sdk.TooManyRequests, RateLimitError),
            (sdk.InternalError, ServerError),
            (sdk.TemporarilyUnavailable, ServerError),
        )
        ours = next((ours for theirs, ours in kinds if isinstance(error, theirs)), None)
        # The SDK puts its whole configuration behind the reason.
        words = f"Databricks refused {where}: {str(error).split(' Config: ')[0]}"
        raise (ours or InvalidRequestError)(words, error_code=error.error_code) from error
    except TimeoutError as error:
        # What the SDK was refused all the time is only in its cause.
        cause: Any = error.__cause__ or error
        msg = f"Databricks did not answer for {where} in time. Last: {cause}"
        raise RequestTimeoutError(msg) from error
    except ValueError as error:
        msg = f"The Databricks login does not work for {where}: {error}"
        raise AuthenticationError(msg) from error
    except OSError as error:
        msg = f"{where} cannot be reached: {error}"
        raise ConnectionFailedError(msg) from error
