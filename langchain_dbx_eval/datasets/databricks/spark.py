"""The table backend ``"spark"``: SQL in the active session of a notebook, a job or Connect."""

from __future__ import annotations

import contextlib
import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_dbx_eval.datasets.base import LoadOptions
from langchain_dbx_eval.datasets.databricks.row_upload import UploadedRows
from langchain_dbx_eval.datasets.databricks.sql_table import ERROR_BY_SQL_STATE, SqlTable
from langchain_dbx_eval.datasets.record import EvalRecord
from langchain_dbx_eval.datasets.schema.row_codec import Row
from langchain_dbx_eval.datasets.schema.table_name import TableName
from langchain_dbx_eval.errors import ConfigurationError, DatabricksError, NotFoundError

__all__ = ["SparkEngine", "SparkTable", "ViewUploader", "active_session"]

# Texts of Sail (0.7.2), whose errors have neither a SQLSTATE nor a condition.
_SAIL_ERRORS = {
    "TABLE_OR_VIEW_NOT_FOUND": ("42P01", "TABLE_OR_VIEW_NOT_FOUND"),
    "Table already exists": ("42P07", "TABLE_OR_VIEW_ALREADY_EXISTS"),
    "found HISTORY": ("42601", "PARSE_SYNTAX_ERROR"),
}


class SparkTable(SqlTable):
    """A table of the active Spark session."""

    backend = "spark"

    @classmethod
    def is_default_for(cls, name: TableName, options: LoadOptions) -> bool:
        """See `TableBackend`; tables of an active session, unless a warehouse is passed."""
        has_session = options.warehouse_id is None and active_session() is not None
        return has_session and SparkEngine().has_table(name)

    @classmethod
    def open(cls, name: TableName, options: LoadOptions) -> SparkTable:
        """Open a table.

        Raises:
            ConfigurationError: No Spark session is active.
            NotFoundError: The table does not exist.
        """
        engine = SparkEngine()
        if not engine.has_table(name):
            msg = f"{engine.label} has no table {name}."
            raise NotFoundError(msg)
        return cls(name, engine, options.version)

    @classmethod
    def create(cls, name: TableName, records: Iterable[EvalRecord], _: LoadOptions) -> SparkTable:
        """Create a table; see `SupportsCreate`."""
        return cls._create(name, records, SparkEngine())


class SparkEngine:
    """The active Spark session as a `SqlEngine`.

    Raises:
        ConfigurationError: No session is active.
    """

    def __init__(self) -> None:
        session = active_session()
        if session is None:
            msg = (
                "No Spark session is active. A notebook on Databricks has one; elsewhere create "
                "one with Databricks Connect, or use another backend: backend='warehouse'."
            )
            raise ConfigurationError(msg)
        self._session = session
        self.label = f"Spark {session.version}"

    def has_table(self, name: TableName) -> bool:
        """Return whether the session has a table."""
        from pyspark.errors import PySparkException

        try:
            return bool(self._session.catalog.tableExists(name.sql))
        except PySparkException:
            # For example, the catalog does not exist.
            return False

    def table_info(self, _: TableName) -> None:
        """See `SqlEngine`; Spark has columns and versions, but no owner."""

    def query(self, sql: str, /, **parameters: str | None) -> Iterator[dict[str, Any]]:
        """See `SqlEngine`."""
        with _spark_errors(self.label):
            for row in self._session.sql(sql, args=parameters).toLocalIterator():
                yield row.asDict(recursive=True)

    def execute(self, sql: str, /, **parameters: str | None) -> None:
        """See `SqlEngine`."""
        with _spark_errors(self.label):
            self._session.sql(sql, args=parameters).collect()

    def uploader(self, _: int) -> ViewUploader:
        """See `SqlEngine`."""
        return ViewUploader(self._session)


@dataclass(frozen=True)
class ViewUploader:
    """Pass rows as a temporary view: Sail (0.7.2) has no parameters in a MERGE.

    Attributes:
        session: The Spark session.
        batch_bytes: See `RowUploader`; less than a message of Spark Connect may have.
    """

    session: Any
    batch_bytes: int = 4 << 20

    @contextlib.contextmanager
    def upload(self, rows: Sequence[Row], columns: Mapping[str, str]) -> Iterator[UploadedRows]:
        """See `RowUploader`."""
        view = f"langchain_dbx_eval_{uuid.uuid4().hex}"
        values = [tuple(row.get(name) for name in columns) for row in rows]
        schema = ", ".join(f"`{name}` {type_}" for name, type_ in columns.items())
        self.session.createDataFrame(values, schema).createTempView(view)
        try:
            yield UploadedRows(f"SELECT * FROM {view}")  # noqa: S608 - no user input
        finally:
            self.session.catalog.dropTempView(view)


def active_session() -> Any | None:
    """Return the active Spark session; None if there is none. Never imports or starts Spark."""
    for module in ("pyspark.sql", "pyspark.sql.connect.session"):
        if module in sys.modules:
            session = sys.modules[module].SparkSession.getActiveSession()
            if session is not None:
                return session
    return None


@contextlib.contextmanager
def _spark_errors(label: str) -> Iterator[None]:
    from pyspark.errors import PySparkException

    try:
        yield
    except PySparkException as error:
        state, condition = error.getSqlState(), error.getCondition()
        if condition is None:
            found = (value for text, value in _SAIL_ERRORS.items() if text in str(error))
            state, condition = next(found, (None, None))
        cls = ERROR_BY_SQL_STATE.get(state or "", DatabricksError)
        msg = f"{label}: {str(error).splitlines()[0]}"
        raise cls(msg, error_code=condition) from error
