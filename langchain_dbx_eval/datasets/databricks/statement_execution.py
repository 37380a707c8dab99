"""One SQL statement by the Statement Execution API: sent, polled, and read in chunks of Arrow."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import requests

from langchain_dbx_eval._internal.deadline import Deadline
from langchain_dbx_eval._internal.retry import RetryPolicy
from langchain_dbx_eval.datasets.databricks.sql_table import ERROR_BY_SQL_STATE
from langchain_dbx_eval.datasets.databricks.unity_catalog import sdk_errors
from langchain_dbx_eval.datasets.databricks.warehouse_startup import ensure_running
from langchain_dbx_eval.errors import (
    ConnectionFailedError,
    DatabricksError,
    InvalidResponseError,
    WarehouseError,
)

if TYPE_CHECKING:
    import pyarrow as pa
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.service.sql import Disposition, ExternalLink, Format, StatementResponse

__all__ = ["Statement"]

_MAX_POLL_INTERVAL = 2.0
_MAX_CHUNK_ATTEMPTS = 4
# The SDK retries connections that fail before the response; this policy, those that fail within it.
_RETRY_POLICY = RetryPolicy(2, is_retryable=lambda error: isinstance(error, ConnectionFailedError))
_UNFINISHED = frozenset({"PENDING", "RUNNING"})


class Statement:
    """One statement; its deadline starts when it is created.

    Args:
        client: The workspace client.
        warehouse_id: The warehouse that executes it; it is started if necessary.
        timeout: Total timeout in seconds, including the start-up of the warehouse.
    """

    def __init__(self, client: WorkspaceClient, warehouse_id: str, timeout: float) -> None:
        self._client = client
        self._warehouse_id = warehouse_id
        self._deadline = Deadline(timeout)
        self._label = f"SQL warehouse '{warehouse_id}'"

    def execute(self, sql: str, parameters: Mapping[str, str | None]) -> None:
        """Execute a statement without a result.

        Args:
            sql: The statement, with parameters as ``:name``.
            parameters: Their values, as strings.

        Raises:
            WarehouseError: The warehouse did not start, or the statement failed.
        """
        from databricks.sdk.service.sql import Disposition, Format

        self._run(sql, parameters, Disposition.INLINE, Format.JSON_ARRAY)

    def query(self, sql: str, parameters: Mapping[str, str | None]) -> Iterator[pa.RecordBatch]:
        """Execute a query, and stream the batches of its complete result.

        Args:
            sql: The query, with parameters as ``:name``.
            parameters: Their values, as strings.

        Raises:
            WarehouseError: The warehouse did not start, or the statement failed.
            InvalidResponseError: The result is incomplete; raised after its last batch.
        """
        import pyarrow as pa
        from databricks.sdk.service.sql import Disposition, Format

        response = self._run(sql, parameters, Disposition.EXTERNAL_LINKS, Format.ARROW_STREAM)
        manifest, result = response.manifest, response.result
        if manifest is None or manifest.truncated:
            raise self._incomplete(response, "was truncated at 100 GiB; select less")
        links = list(result.external_links or ()) if result else []
        rows = 0
        while links:
            link = links[0]
            for batch in pa.ipc.open_stream(io.BytesIO(self._download(response, link))):
                rows += batch.num_rows
                yield batch
            links = links[1:] or self._links(response, link.next_chunk_index)
        if rows != (manifest.total_row_count or 0):
            raise self._incomplete(response, f"has {rows} of {manifest.total_row_count} rows")

    def _run(
        self,
        sql: str,
        parameters: Mapping[str, str | None],
        disposition: Disposition,
        format_: Format,
    ) -> StatementResponse:
        from databricks.sdk.service.sql import StatementParameterListItem

        ensure_running(self._client, self._warehouse_id, self._deadline)
        items = [
            StatementParameterListItem(name=name, value=value, type="STRING")
            for name, value in parameters.items()
        ]

        def send() -> StatementResponse:
            with sdk_errors(self._label):
                return self._client.statement_execution.execute_statement(
                    sql,
                    self._warehouse_id,
                    parameters=items,
                    disposition=disposition,
                    format=format_,
                    # The API accepts 0, or 5 to 50 seconds.
                    wait_timeout="10s" if self._deadline.remaining > 10 else "0s",
                )

        return self._wait(_RETRY_POLICY.run(send))

    def _wait(self, response: StatementResponse) -> StatementResponse:
        interval = 0.1
        while _state_of(response) in _UNFINISHED:
            if self._deadline.remaining == 0:
                raise self._cancel(response)
            self._deadline.sleep(interval)
            interval = min(interval * 1.5, _MAX_POLL_INTERVAL)
            with sdk_errors(self._label):
                response = self._client.statement_execution.get_statement(
                    response.statement_id or ""
                )
        if _state_of(response) != "SUCCEEDED":
            raise self._failure(response)
        return response

    def _cancel(self, response: StatementResponse) -> WarehouseError:
        # Otherwise the statement would continue without its client.
        with contextlib.suppress(DatabricksError), sdk_errors(self._label):
            self._client.statement_execution.cancel_execution(response.statement_id or "")
        state = _state_of(response)
        return WarehouseError(
            f"{self._label} did not finish statement {response.statement_id} within "
            f"{self._deadline.seconds:.0f} s (it was {state}); it has been canceled. "
            "Pass a longer timeout=, or use a larger or less busy warehouse.",
            warehouse_id=self._warehouse_id,
            state=state,
            statement_id=response.statement_id,
        )

    def _failure(self, response: StatementResponse) -> DatabricksError:
        status: Any = response.status
        reason = status.error.message if status and status.error else "without a reason"
        code = _condition_of(reason)
        message = f"{self._label}, statement {response.statement_id}: {reason}"
        cls = ERROR_BY_SQL_STATE.get(getattr(status, "sql_state", None) or "")
        if cls is not None:
            return cls(message, error_code=code, target=self._label)
        return WarehouseError(
            message,
            warehouse_id=self._warehouse_id,
            state=_state_of(response),
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
        """Return the bytes of a chunk, with a new link if this one, valid for minutes, expired."""
        reason = "no link"
        for attempt in range(_MAX_CHUNK_ATTEMPTS):
            if link.external_link:
                content, reason = _get(link, timeout=max(1.0, min(60.0, self._deadline.seconds)))
                if content is not None:
                    return content
            if attempt + 1 < _MAX_CHUNK_ATTEMPTS:
                new_links = self._links(response, link.chunk_index or 0)
                link = new_links[0] if new_links else link
        raise self._incomplete(response, f"lacks chunk {link.chunk_index}: {reason}")

    def _incomplete(self, response: StatementResponse, problem: str) -> InvalidResponseError:
        return InvalidResponseError(
            f"The result of statement {response.statement_id} in {self._label} {problem}.",
            target=self._label,
            retryable=True,
        )


def _condition_of(message: str | None) -> str | None:
    """Return the error condition, in brackets at the start of Databricks' messages."""
    match = re.match(r"\[([A-Z][A-Z0-9_.]+)\]", message or "")
    return match.group(1) if match else None


def _state_of(response: StatementResponse) -> str:
    status = response.status
    return status.state.value if status and status.state else "UNKNOWN"


def _get(link: ExternalLink, timeout: float) -> tuple[bytes | None, str]:
    try:
        response = requests.get(
            link.external_link or "",
            headers=link.http_headers or {},
            # The link contains its own credentials. By default, requests would add ~/.netrc's.
            auth=lambda request: request,
            allow_redirects=False,
            timeout=timeout,
        )
    except requests.RequestException as error:
        # Not str(error): it contains the link, with which anyone can read the chunk.
        return None, type(error).__name__
    if response.status_code != 200:
        return None, f"its link answered {response.status_code}"
    return response.content, ""
