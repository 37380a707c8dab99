"""How rows get to a statement: among its parameters, or as a file in a volume."""

from __future__ import annotations

import io
import json
import logging
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from langchain_dbx_eval._internal.extras import require
from langchain_dbx_eval.datasets.databricks.unity_catalog import sdk_errors
from langchain_dbx_eval.datasets.schema.row_codec import Row
from langchain_dbx_eval.datasets.schema.table_name import TableName
from langchain_dbx_eval.errors import (
    ConfigurationError,
    DatabricksError,
    NotFoundError,
    PermissionDeniedError,
    SchemaError,
)

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient

__all__ = ["Parameters", "RowUploader", "UploadedRows", "Volume", "volume_folder"]

_logger = logging.getLogger(__name__)

# A statement with its parameters may have 16 MiB (Databricks, "Statement Execution API").
_PARAMETER_BYTES = 4 << 20
_LARGEST_STATEMENT = 15 << 20
# Below 50 MB databricks-sdk uploads in one request, which may be sent twice.
_FILE_BYTES = 48 << 20


@dataclass(frozen=True, slots=True)
class UploadedRows:
    """Rows where a statement finds them.

    Attributes:
        sql: The query that gives them.
        parameters: The parameters that it has.
    """

    sql: str
    parameters: Mapping[str, str] = field(default_factory=dict)


class RowUploader(Protocol):
    """What brings rows to a statement."""

    @property
    def part_bytes(self) -> int:
        """How many bytes of rows go at once."""
        ...

    def carry(
        self, rows: Sequence[Row], columns: Mapping[str, str]
    ) -> AbstractContextManager[UploadedRows]:
        """Bring rows, for the time of the block.

        Args:
            rows: The rows; a column that one lacks is null.
            columns: The columns and their SQL types, ``STRING`` or ``TIMESTAMP``.
        """
        ...


@dataclass(frozen=True)
class Parameters:
    """The rows as JSON in one parameter: whatever is in them, none of it is read as SQL."""

    part_bytes: int = field(default_factory=lambda: _PARAMETER_BYTES)

    @contextmanager
    def carry(self, rows: Sequence[Row], columns: Mapping[str, str]) -> Iterator[UploadedRows]:
        """See `RowUploader`.

        Raises:
            SchemaError: A record is larger than a statement.
        """
        text = json.dumps(rows, ensure_ascii=False, default=datetime.isoformat)
        if len(text.encode()) > _LARGEST_STATEMENT:
            msg = (
                "A record is larger than the 16 MiB that a statement may have. Let it pass through "
                "a volume: volume='/Volumes/catalog/schema/volume', or DBX_EVAL_VOLUME."
            )
            raise SchemaError(msg)
        fields = ", ".join(f"{name}: {kind}" for name, kind in columns.items())
        sql = f"SELECT inline(from_json(:rows, 'ARRAY<STRUCT<{fields}>>'))"
        yield UploadedRows(sql, {"rows": text})


@dataclass(frozen=True)
class Volume:
    """The rows as a Parquet file in a volume, which is removed when the statement is done.

    Attributes:
        client: The login.
        folder: The volume's path, or that of a folder in it.
    """

    client: WorkspaceClient
    folder: str
    part_bytes: int = _FILE_BYTES

    @contextmanager
    def carry(self, rows: Sequence[Row], columns: Mapping[str, str]) -> Iterator[UploadedRows]:
        """See `RowUploader`.

        Raises:
            NotFoundError: There is no such volume.
            PermissionDeniedError: It may not be written to.
        """
        path = f"{self.folder}/langchain-dbx-eval-{uuid.uuid4().hex}.parquet"
        try:
            self._upload(path, _parquet(rows, columns))
            names = ", ".join(f"`{name}`" for name in columns)
            yield UploadedRows(f"SELECT {names} FROM read_files('{path}', format => 'parquet')")  # noqa: S608
        finally:
            self._remove(path)

    def _upload(self, path: str, content: bytes) -> None:
        try:
            with sdk_errors(f"the upload to {path}"):
                self.client.files.upload(path, io.BytesIO(content), overwrite=True)
        except NotFoundError as error:
            msg = f"{error} Make the volume first: CREATE VOLUME catalog.schema.volume."
            raise NotFoundError(msg, error_code=error.error_code) from error
        except PermissionDeniedError as error:
            msg = f"{error} It needs READ VOLUME and WRITE VOLUME on the volume."
            raise PermissionDeniedError(msg, error_code=error.error_code) from error

    def _remove(self, path: str) -> None:
        try:
            with sdk_errors(f"the removal of {path}"):
                self.client.files.delete(path)
        except NotFoundError:
            return
        except DatabricksError as error:
            # What was to be done is done, or has an error of its own.
            _logger.warning("%s was not removed and can be deleted by hand: %s", path, error)


def volume_folder(volume: str) -> str:
    """The path of a volume, from its path or its name.

    Args:
        volume: ``/Volumes/catalog/schema/volume``, perhaps with folders in it, or
            ``catalog.schema.volume``.

    Raises:
        ConfigurationError: It is neither.
    """
    if not volume.startswith("/"):
        return "/".join(["/Volumes", *TableName.parse(volume).parts])
    path = volume.rstrip("/")
    if not re.fullmatch(r"/Volumes(/[\w .@+-]+){3,}", path) or re.search(r"/\.+(/|$)", path):
        msg = f"{volume!r} is no path of a volume. Give '/Volumes/catalog/schema/volume'."
        raise ConfigurationError(msg)
    return path


def _parquet(rows: Sequence[Row], columns: Mapping[str, str]) -> bytes:
    require("pyarrow", extra="delta")
    import pyarrow as pa
    import pyarrow.parquet as pq

    types: dict[str, Any] = {"STRING": pa.string(), "TIMESTAMP": pa.timestamp("us", tz="UTC")}
    schema = pa.schema([(name, types[kind]) for name, kind in columns.items()])
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows), schema), sink)
    return sink.getvalue()
