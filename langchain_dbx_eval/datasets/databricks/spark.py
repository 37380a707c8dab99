"""The table backend ``"spark"``: SQL in the active session of a notebook, a job or Connect."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from langchain_dbx_eval.datasets.base import LoadOptions
from langchain_dbx_eval.datasets.databricks.row_upload import ParameterUploader
from langchain_dbx_eval.datasets.databricks.sql_table import ERROR_BY_SQL_STATE, SqlTable
from langchain_dbx_eval.datasets.record import EvalRecord
from langchain_dbx_eval.datasets.schema.table_name import TableName
from langchain_dbx_eval.errors import ConfigurationError, DatabricksError, NotFoundError

__all__ = ["SparkEngine", "SparkTable", "active_session"]


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

    def uploader(self, _: int) -> ParameterUploader:
        """See `SqlEngine`."""
        return ParameterUploader()


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
        cls = ERROR_BY_SQL_STATE.get(error.getSqlState() or "", DatabricksError)
        msg = f"{label}: {str(error).splitlines()[0]}"
        raise cls(msg, error_code=error.getCondition()) from error
