"""The results table, and the rows of an evaluation that are missing in it.

Rows are only appended, one commit per step; of several rows with one key the newest one counts. So
a table needs no ``MERGE``, which Parquet lacks, and a commit that is repeated changes nothing.
"""

from __future__ import annotations

import os
from functools import cached_property
from typing import Any

from langchain_dbx_eval.errors import ConfigurationError

__all__ = ["KEY", "RESULT_SCHEMA", "RowStore", "default_format", "describe_failure"]

KEY = ["record_key", "occurrence", "repetition"]
"""The digest of the record, which of the records with this digest it is, and the repetition."""

RESULT_SCHEMA = {
    "record_key": "string",
    "occurrence": "int",
    "repetition": "int",
    "number": "bigint",
    "version": "bigint",
    "model": "string",
    "scorers": "string",
    "dataset": "string",
    "request_id": "string",
    "request": "string",
    "response": "string",
    "error": "string",
    "failed": "boolean",
    "scorer_failed": "boolean",
    "latency_seconds": "double",
    "total_tokens": "bigint",
    "cost_usd": "double",
    "scores": "map<string,double>",
    "answer": "string",
    "outputs": "string",
}
"""The columns of the results table.

``version`` is the start of the run that wrote the row, in ns since 1970; ``model``, ``scorers`` and
``dataset`` are fingerprints. ``answer`` and ``outputs`` contain the whole row as JSON (see
`journal.codec`), ``outputs`` the output of each scorer with its fingerprint; the others are for
queries.
"""


def default_format(session: Any) -> str:
    """Return ``"delta"`` if it is the session's default, or on Databricks; else ``"parquet"``."""
    is_databricks = "DATABRICKS_RUNTIME_VERSION" in os.environ
    default = session.conf.get("spark.sql.sources.default", "parquet")
    is_delta = is_databricks or default == "delta" or _is_databricks_connect(session)
    return "delta" if is_delta else "parquet"


def describe_failure(error: Exception) -> str:
    """Return the line of a job's error that says what a task raised."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    raised = [line for line in lines if ": " in line and line.split(":")[0].endswith("Error")]
    return (raised or lines or [type(error).__name__])[-1 if raised else 0].rstrip(".")


class RowStore:
    """A table by its name or path, and the table of missing rows beside it.

    Args:
        session: The Spark session.
        location: The name of the table, or its path.
        format: The format of the files.
    """

    def __init__(self, session: Any, location: str, format: str) -> None:
        self.session = session
        self.location = location
        self.format = format

    @cached_property
    def is_path(self) -> bool:
        """Whether the location is a path."""
        return "/" in self.location or "\\" in self.location

    def read(self) -> Any:
        """Return all rows that were appended."""
        if not self.is_path:
            return self.session.table(self.location)
        return self.session.read.format(self.format).load(self.location)

    def latest(self) -> Any:
        """Return the newest row of each key."""
        # Expressions in SQL, here and elsewhere: `pyspark.sql.functions` follows a mode of the
        # process (classic or Connect), which may differ from that of the session.
        newest = f"row_number() OVER (PARTITION BY {', '.join(KEY)} ORDER BY version DESC) AS rank"
        return self.read().selectExpr("*", newest).where("rank = 1").drop("rank")

    def exists(self) -> bool:
        """Whether the table exists and contains a commit.

        Raises:
            ConfigurationError: The name is invalid, or it is a table with other columns.
        """
        try:
            if not self.is_path and not self.session.catalog.tableExists(self.location):
                return False
            columns = self.read().columns
        except Exception as error:  # of Spark or its connection
            if self.is_path:
                return False
            raise self._unusable(error) from error
        # Sail (0.7.2) reads a folder that does not exist as a table without columns.
        if columns and (missing := [name for name in RESULT_SCHEMA if name not in columns]):
            msg = (
                f"SparkOptions(results={self.location!r}) is a table with other columns: it lacks "
                f"{', '.join(missing[:3])} … Choose another name or path."
            )
            raise ConfigurationError(msg)
        return bool(columns)

    def create(self) -> None:
        """Create an empty table, before a model is invoked whose answers could not be stored.

        Raises:
            ConfigurationError: It cannot be written.
        """
        ddl = ", ".join(f"{name} {type_}" for name, type_ in RESULT_SCHEMA.items())
        try:
            self.append(self.session.createDataFrame([], ddl))
        except Exception as error:  # of Spark or its connection
            raise self._unusable(error) from error

    def append(self, frame: Any) -> None:
        """Append rows in one commit."""
        self._save(frame.write.format(self.format).mode("append"), self.location)

    def write_missing(self, frame: Any) -> Any:
        """Replace the table of missing rows, and return it.

        Raises:
            ConfigurationError: It cannot be written, or the rows cannot be read.
        """
        name = f"{self.location.rstrip('/')}_missing"
        writer = frame.write.format(self.format).mode("overwrite").partitionBy("step")
        if self.format == "delta":
            writer = writer.option("overwriteSchema", "true")
        try:
            self._save(writer, name)
        except Exception as error:  # of Spark or its connection
            raise self._unusable(error) from error
        if self.is_path:
            return self.session.read.format(self.format).load(name)
        return self.session.table(name)

    def drop_missing(self) -> None:
        """Delete the table of missing rows, if it has a name."""
        if not self.is_path:
            self.session.sql(f"DROP TABLE IF EXISTS {self.location}_missing").collect()

    def _unusable(self, error: Exception) -> ConfigurationError:
        return ConfigurationError(
            f"SparkOptions(results={self.location!r}, format={self.format!r}) cannot be used: "
            f"{describe_failure(error)}. Pass the name of a table that you may write to, or the "
            "path of a folder that all machines of the cluster can write to."
        )

    def _save(self, writer: Any, location: str) -> None:
        if self.is_path:
            writer.save(location)
        else:
            writer.saveAsTable(location)


def _is_databricks_connect(session: Any) -> bool:
    return type(session).__module__.startswith("databricks.")
