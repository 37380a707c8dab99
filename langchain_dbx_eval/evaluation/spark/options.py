"""Options of ``evaluate(…, engine="spark")``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from langchain_dbx_eval.errors import ConfigurationError

__all__ = ["SparkOptions"]


@dataclass(frozen=True, kw_only=True)
class SparkOptions:
    """Options of the Spark engine: ``evaluate(…, engine=SparkOptions(…))``.

    Attributes:
        results: The results table: a table name, or the path of a folder that all machines of the
            cluster can access. An existing table is continued: rows that it contains are not
            invoked again. Default: a new folder in ``spark/`` of DBX_EVAL_HOME, whose path is
            logged.
        session: The Spark session, classic or Spark Connect; default: the active one, else Sail
            on this machine.
        tasks: Number of Spark tasks that run at the same time. At most as many as the cluster has
            free cores: ``max_concurrency`` is divided by it.
        step_rows: Number of rows after which the finished rows are committed to the results table;
            default: 100 times ``max_concurrency``.
        format: The format of the results table; default: ``"delta"`` on Sail and Databricks, else
            ``"parquet"``.
        trace_sample: Number of rows whose traces are written to MLflow, besides failed rows.
        max_failures: Largest number of failed rows that are written to MLflow and to reports.

    Raises:
        ConfigurationError: A number is out of range.
    """

    results: str | None = None
    session: Any = None
    tasks: int = 4
    step_rows: int | None = None
    format: str | None = None
    trace_sample: int = 100
    max_failures: int = 1000

    def __post_init__(self) -> None:
        least = {"tasks": 1, "step_rows": 1, "trace_sample": 0, "max_failures": 0}
        for name, minimum in least.items():
            value = getattr(self, name)
            if name == "step_rows" and value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
                msg = f"SparkOptions({name}=…) must be an integer of {minimum} or more: {value!r}."
                raise ConfigurationError(msg)
        for name in ("results", "format"):
            if not isinstance(getattr(self, name), str | None):
                msg = f"SparkOptions({name}=…) must be a string, got {getattr(self, name)!r}."
                raise ConfigurationError(msg)
