"""Rows as the input of a SQL statement: as one of its parameters, or as a file in a volume."""

from __future__ import annotations

import io
import json
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from langchain_dbx_eval._internal.imports import require
from langchain_dbx_eval._internal.log import get_logger
from langchain_dbx_eval.datasets.databricks.unity_catalog import sdk_errors
from langchain_dbx_eval.datasets.delta.staging import to_arrow
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

__all__ = ["ParameterUploader", "RowUploader", "UploadedRows", "VolumeUploader", "volume_folder"]

_logger = get_logger(__name__)

# A statement with its parameters is limited to 16 MiB (Databricks, "Statement Execution API").
_PARAMETER_BYTES = 4 << 20
_MAX_STATEMENT_BYTES = 15 << 20
# databricks-sdk uploads less than 50 MB in one request, which is safe to repeat.
_FILE_BYTES = 48 << 20


@dataclass(frozen=True, slots=True)
class UploadedRows:
    """Rows that a statement can read.

    Attributes:
        sql: The query that returns them.
        parameters: The parameters of that query.
    """

    sql: str
    parameters: Mapping[str, str] = field(default_factory=dict)


class RowUploader(Protocol):
    """A way to pass rows to a statement."""

    @property
    def batch_bytes(self) -> int:
        """The approximate size of the rows of one upload."""
        ...

    def upload(
        self, rows: Sequence[Row], columns: Mapping[str, str]
    ) -> AbstractContextManager[UploadedRows]:
        """Provide rows until the end of the block.

        Args:
            rows: The rows; a missing column is null.
            columns: SQL types by column, ``STRING`` or ``TIMESTAMP``.
        """
        ...


@dataclass(frozen=True)
class ParameterUploader:
    """Pass rows as JSON in one parameter, which prevents SQL injection."""

    batch_bytes: int = field(default_factory=lambda: _PARAMETER_BYTES)

    @contextmanager
    def upload(self, rows: Sequence[Row], columns: Mapping[str, str]) -> Iterator[UploadedRows]:
        """See `RowUploader`.

        Raises:
            SchemaError: The rows are larger than a statement may be.
        """
        text = json.dumps(rows, ensure_ascii=False, default=datetime.isoformat)
        if len(text.encode()) > _MAX_STATEMENT_BYTES:
            msg = (
                "A record exceeds the 16 MiB limit of a statement. Upload it through a volume: "
                "volume='/Volumes/catalog/schema/volume', or DBX_EVAL_VOLUME."
            )
            raise SchemaError(msg)
        fields = ", ".join(f"{name}: {type_}" for name, type_ in columns.items())
        sql = f"SELECT inline(from_json(:rows, 'ARRAY<STRUCT<{fields}>>'))"
        yield UploadedRows(sql, {"rows": text})


@dataclass(frozen=True)
class VolumeUploader:
    """Pass rows as a Parquet file in a volume; the file is deleted after the statement.

    Attributes:
        client: The workspace client.
        folder: The path of the volume, or of a folder in it.
    """

    client: WorkspaceClient
    folder: str
    batch_bytes: int = _FILE_BYTES

    @contextmanager
    def upload(self, rows: Sequence[Row], columns: Mapping[str, str]) -> Iterator[UploadedRows]:
        """See `RowUploader`.

        Raises:
            NotFoundError: The volume does not exist.
            PermissionDeniedError: The volume may not be written to.
        """
        path = f"{self.folder}/langchain-dbx-eval-{uuid.uuid4().hex}.parquet"
        try:
            self._upload_file(path, _to_parquet(rows, columns))
            names = ", ".join(f"`{name}`" for name in columns)
            literal = path.replace("\\", "\\\\").replace("'", "\\'")
            sql = f"SELECT {names} FROM read_files('{literal}', format => 'parquet')"  # noqa: S608 - an escaped literal
            yield UploadedRows(sql)
        finally:
            self._delete_file(path)

    def _upload_file(self, path: str, content: bytes) -> None:
        try:
            with sdk_errors(f"the upload to {path}"):
                self.client.files.upload(path, io.BytesIO(content), overwrite=True)
        except NotFoundError as error:
            msg = f"{error} Create the volume: CREATE VOLUME catalog.schema.volume."
            raise NotFoundError(msg, error_code=error.error_code) from error
        except PermissionDeniedError as error:
            msg = f"{error} An upload requires READ VOLUME and WRITE VOLUME on the volume."
            raise PermissionDeniedError(msg, error_code=error.error_code) from error

    def _delete_file(self, path: str) -> None:
        try:
            with sdk_errors(f"the deletion of {path}"):
                self.client.files.delete(path)
        except NotFoundError:
            return
        except DatabricksError as error:
            # The statement has succeeded, or has raised its own error.
            _logger.warning("%s could not be deleted, and can be deleted by hand: %s", path, error)


def volume_folder(volume: str) -> str:
    """Return the path of a volume.

    Args:
        volume: ``/Volumes/catalog/schema/volume``, with or without folders below it, or
            ``catalog.schema.volume``.

    Raises:
        ConfigurationError: It is neither.
    """
    if not volume.startswith("/"):
        return "/".join(["/Volumes", *TableName.parse(volume).parts])
    path = volume.rstrip("/")
    if not re.fullmatch(r"/Volumes(/[\w .@+-]+){3,}", path) or re.search(r"/\.+(/|$)", path):
        msg = f"{volume!r} is not the path of a volume. Pass '/Volumes/catalog/schema/volume'."
        raise ConfigurationError(msg)
    return path


def _to_parquet(rows: Sequence[Row], columns: Mapping[str, str]) -> bytes:
    require("pyarrow", extra="delta")
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(to_arrow(rows, columns), sink)
    return sink.getvalue()
