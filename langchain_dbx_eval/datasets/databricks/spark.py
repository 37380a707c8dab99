"""The Spark session that is active here, in a notebook, a job or by Databricks Connect."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from langchain_dbx_eval.datasets.databricks.row_upload import Parameters
from langchain_dbx_eval.datasets.schema.table_name import TableName
from langchain_dbx_eval.errors import (
    AlreadyExistsError,
    ConfigurationError,
    DatabricksError,
    NotFoundError,
    PermissionDeniedError,
)

__all__ = ["SparkEngine", "active_session"]

_BY_SQL_STATE: dict[str, type[DatabricksError]] = {
    "42P01": NotFoundError,
    "42P07": AlreadyExistsError,
    "42501": PermissionDeniedError,
}


def active_session() -> Any | None:
    """The active session, or None. Spark is never imported to find out, nor started."""
    for module in ("pyspark.sql", "pyspark.sql.connect.session"):
        if module in sys.modules:
            session = sys.modules[module].SparkSession.getActiveSession()
            if session is not None:
                return session
    return None


class SparkEngine:
    """The active Spark session, as what runs SQL.

    Raises:
        ConfigurationError: None is active.
    """

    backend = "spark"

    def __init__(self) -> None:
        session = active_session()
        if session is None:
            msg = (
                "No Spark session is active here. On Databricks a notebook has one; elsewhere make "
                "one with Databricks Connect, or take another route: backend='warehouse'."
            )
            raise ConfigurationError(msg)
        self._session = session
        self.where = f"Spark {session.version}"

    def has(self, name: TableName) -> bool:
        """Whether the session can see a table."""
        from pyspark.errors import PySparkException

        try:
            return bool(self._session.catalog.tableExists(name.sql))
        except PySparkException:
            # A catalog that it does not have, for one.
            return False

    def table_info(self, _: TableName) -> None:
        """See `SqlEngine`; Spark is asked for columns and versions, not for owners."""

    def query(self, sql: str, /, **parameters: str | None) -> Iterator[dict[str, Any]]:
        """See `SqlEngine`."""
        with _spark_errors(self.where):
            rows = self._session.sql(sql, args=parameters).toLocalIterator()
            for row in rows:
                yield row.asDict(recursive=True)

    def carrier(self, _: int) -> Parameters:
        """See `SqlEngine`."""
        return Parameters()

    def run(self, sql: str, /, **parameters: str | None) -> None:
        """See `SqlEngine`."""
        with _spark_errors(self.where):
            self._session.sql(sql, args=parameters).collect()


@contextlib.contextmanager
def _spark_errors(where: str) -> Iterator[None]:
    from pyspark.errors import PySparkException

    try:
        yield
    except PySparkException as error:
        kind = _BY_SQL_STATE.get(error.getSqlState() or "", DatabricksError)
        words = f"{where}: {str(error).splitlines()[0]}"
        raise kind(words, error_code=error.getCondition()) from error
