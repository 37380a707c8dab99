"""SQL by the Statement Execution API: sent, waited for, and read chunk by chunk as Arrow."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import requests

from langchain_dbx_eval._internal.deadline import Deadline
from langchain_dbx_eval._internal.extras import require
from langchain_dbx_eval._internal.retry import RetryPolicy
from langchain_dbx_eval.datasets.databricks.row_upload import (
    Parameters,
    RowUploader,
    Volume,
    volume_folder,
)
from langchain_dbx_eval.datasets.databricks.unity_catalog import (
    sdk_errors,
    table_info,
    workspace_client,
)
from langchain_dbx_eval.datasets.databricks.warehouse import await_running, warehouse_id_of
from langchain_dbx_eval.datasets.open_dataset import LoadOptions
from langchain_dbx_eval.datasets.schema.table_name import TableName
from langchain_dbx_eval.errors import (
    AlreadyExistsError,
    ConnectionFailedError,
    DatabricksError,
    InvalidResponseError,
    NotFoundError,
    PermissionDeniedError,
    WarehouseError,
)

if TYPE_CHECKING:
    import pyarrow as pa
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.service.catalog import TableInfo
    from databricks.sdk.service.sql import ExternalLink, StatementResponse

__all__ = ["Warehouse"]

_LONGEST_PAUSE = 2.0
_CHUNK_TRIES = 4
# The SDK repeats what broke off before the answer began; this, what broke off in its middle.
_POLICY = RetryPolicy(2, is_retryable=lambda error: isinstance(error, ConnectionFailedError))
# SQLSTATE, as Databricks gives it (Databricks, "SQLSTATE error codes").
_BY_SQL_STATE: dict[str, type[DatabricksError]] = {
    "42P01": NotFoundError,
    "42704": NotFoundError,
    "42P07": AlreadyExistsError,
    "42501": PermissionDeniedError,
}
_UNFINISHED = frozenset({"PENDING", "RUNNING"})


class Warehouse:
    """A SQL warehouse that statements are sent to.

    Args:
        reach: Which warehouse, by which login, and for how long each statement may take.

    Raises:
        ConfigurationError: No warehouse was named.
        AuthenticationError: There is no login.
    """

    backend = "warehouse"

    def __init__(self, reach: LoadOptions) -> None:
        volume = reach.volume or os.environ.get("DBX_EVAL_VOLUME")
        self._volume = volume_folder(volume) if volume else None
        self._target = _Target(workspace_client(reach), warehouse_id_of(reach), reach.timeout)
        self.where = self._target.words

    def table_info(self, name: TableName) -> TableInfo | None:
        """What Unity Catalog says of a table, which wakes no warehouse; None where it is not told.

        Raises:
            NotFoundError: There is no such table.
        """
        try:
            return table_info(self._target.client, name)
        except PermissionDeniedError:
            return None

    def query(self, sql: str, /, **parameters: str | None) -> Iterator[dict[str, Any]]:
        """Ask, and read the answer's rows as they come.

        Args:
            sql: The statement; values stand in it as ``:name``.
            **parameters: The values, as texts.

        Raises:
            WarehouseError: The warehouse did not start, or the statement failed.
            NotFoundError: A table is not there.
            InvalidResponseError: A part of the answer was lost.
        """
        require("pyarrow", extra="delta")
        running = _Statement(self._target)
        for batch in running.batches(running.execute(sql, parameters, arrow=True)):
            yield from batch.to_pylist(maps_as_pydicts="strict")

    def carrier(self, size: int) -> RowUploader:
        """See `SqlEngine`: a volume for what is too much for one statement, where one was named."""
        parameters = Parameters()
        if self._volume is None or size <= parameters.part_bytes:
            return parameters
        return Volume(self._target.client, self._volume)

    def run(self, sql: str, /, **parameters: str | None) -> None:
        """Do, and wait until it is done. Only what may be done twice.

        The SDK repeats a request whose answer was lost, and the API has no key to tell the
        repetition by.

        Raises:
            WarehouseError: The warehouse did not start, or the statement failed.
            AlreadyExistsError: The table to be created is there.
        """
        _Statement(self._target).execute(sql, parameters, arrow=False)


@dataclass(frozen=True)
class _Target:
    client: WorkspaceClient
    warehouse_id: str
    timeout: float

    @property
    def words(self) -> str:
        return f"SQL warehouse '{self.warehouse_id}'"


class _Statement:
    """One statement and its deadline."""

    def __init__(self, target: _Target) -> None:
        self._deadline = Deadline(target.timeout)
        self._client = target.client
        self._warehouse_id = target.warehouse_id
        self._where = target.words

    def execute(
        self, sql: str, parameters: Mapping[str, str | None], *, arrow: bool
    ) -> StatementResponse:
        from databricks.sdk.service.sql import Disposition, Format, StatementParameterListItem

        await_running(self._client, self._warehouse_id, self._deadline)
        named = [
            StatementParameterListItem(name=name, value=value, type="STRING")
            for name, value in parameters.items()
        ]

        def send() -> StatementResponse:
            with sdk_errors(self._where):
                return self._client.statement_execution.execute_statement(
                    sql,
                    self._warehouse_id,
                    parameters=named,
                    disposition=Disposition.EXTERNAL_LINKS if arrow else Disposition.INLINE,
                    format=Format.ARROW_STREAM if arrow else Format.JSON_ARRAY,
                    wait_timeout=self._wait_timeout(),
                )

        return self._wait(_POLICY.run(send))

    def batches(self, response: StatementResponse) -> Iterator[pa.RecordBatch]:
        """The answer's batches, chunk by chunk; never a part of it for the whole."""
        import pyarrow as pa

        manifest, result = response.manifest, response.result
        if manifest is None or manifest.truncated:
            raise self._lost(response, "was cut at 100 GiB; ask for less")
        links = list(result.external_links or ()) if result else []
        rows = 0
        while links:
            link = links[0]
            for batch in pa.ipc.open_stream(io.BytesIO(self._download(response, link))):
                rows += batch.num_rows
                yield batch
            links = links[1:] or self._links(response, link.next_chunk_index)
        if rows != (manifest.total_row_count or 0):
            raise self._lost(response, f"has {rows} of {manifest.total_row_count} rows")

    def _wait_timeout(self) -> str:
        # The API takes 0, or 5 to 50 seconds.
        return "10s" if self._deadline.remaining > 10 else "0s"

    def _wait(self, response: StatementResponse) -> StatementResponse:
        pause = 0.1
        while _state(response) in _UNFINISHED:
            if self._deadline.remaining == 0:
                raise self._overdue(response)
            self._deadline.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)
            with sdk_errors(self._where):
                response = self._client.statement_execution.get_statement(
                    response.statement_id or ""
                )
        if _state(response) != "SUCCEEDED":
            raise self._failed(response)
        return response

    def _overdue(self, response: StatementResponse) -> WarehouseError:
        # Not to ask any more does not end it.
        with contextlib.suppress(DatabricksError), sdk_errors(self._where):
            self._client.statement_execution.cancel_execution(response.statement_id or "")
        state = _state(response)
        return WarehouseError(
            f"{self._where} did not finish statement {response.statement_id} within "
            f"{self._deadline.seconds:.0f} s (it was {state}); it has been cancelled. "
            "Pass a longer timeout=, or a larger or less busy warehouse.",
            warehouse_id=self._warehouse_id,
            state=state,
            statement_id=response.statement_id,
        )

    def _failed(self, response: StatementResponse) -> DatabricksError:
        status: Any = response.status
        words = status.error.message if status and status.error else "without a reason"
        code = _condition(words)
        message = f"{self._where}, statement {response.statement_id}: {words}"
        kind = _BY_SQL_STATE.get(getattr(status, "sql_state", None) or "")
        if kind is not None:
            return kind(message, error_code=code, target=self._where)
        return WarehouseError(
            message,
            warehouse_id=self._warehouse_id,
            state=_state(response),
            statement_id=response.statement_id,
            error_code=code,
        )

    def _links(self, response: StatementResponse, chunk: int | None) -> list[ExternalLink]:
        if chunk is None:
            return []
        with sdk_errors(f"chunk {chunk} of statement {response.statement_id}"):
            part = self._client.statement_execution.get_statement_result_chunk_n(
                response.statement_id or "", chunk
            )
        return list(part.external_links or ())

    def _download(self, response: StatementResponse, link: ExternalLink) -> bytes:
        """A chunk's bytes. Its link works for minutes only: an expired one is asked for anew."""
        reason = "no link"
        for attempt in range(_CHUNK_TRIES):
            if link.external_link:
                content, reason = _get(link, timeout=max(1.0, min(60.0, self._deadline.seconds)))
                if content is not None:
                    return content
            if attempt + 1 < _CHUNK_TRIES:
                renewed = self._links(response, link.chunk_index or 0)
                link = renewed[0] if renewed else link
        raise self._lost(response, f"lacks chunk {link.chunk_index}: {reason}")

    def _lost(self, response: StatementResponse, what: str) -> InvalidResponseError:
        return InvalidResponseError(
            f"The answer of {self._where} to statement {response.statement_id} {what}.",
            target=self._where,
            retryable=True,
        )


def _condition(message: str | None) -> str | None:
    """The error condition, which stands in brackets at the head of Databricks' messages."""
    found = re.match(r"\[([A-Z][A-Z0-9_.]+)\]", message or "")
    return found.group(1) if found else None


def _state(response: StatementResponse) -> str:
    status = response.status
    return status.state.value if status and status.state else "UNKNOWN"


def _get(link: ExternalLink, timeout: float) -> tuple[bytes | None, str]:
    try:
        answer = requests.get(
            link.external_link or "",
            headers=link.http_headers or {},
            # The link is a credential of its own. Without this, requests would add ~/.netrc's.
            auth=lambda request: request,
            allow_redirects=False,
            timeout=timeout,
        )
    except requests.RequestException as error:
        # Not str(error): it would show the link, which lets anybody read.
        return None, type(error).__name__
    if answer.status_code != 200:
        return None, f"its link answered {answer.status_code}"
    return answer.content, ""
