"""`append_metrics_to_table`: the metrics of a run as rows of a table, exactly once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any

from langchain_dbx_eval._internal.log import get_logger
from langchain_dbx_eval._internal.retry import RetryPolicy
from langchain_dbx_eval.datasets.base import LoadOptions
from langchain_dbx_eval.datasets.schema.table_name import TableName
from langchain_dbx_eval.errors import AlreadyExistsError, DatabricksError
from langchain_dbx_eval.evaluation import EvaluationResult
from langchain_dbx_eval.reporting.dashboard.forms import (
    EncodedRun,
    Form,
    choose_form,
    decode_runs,
    encode_run,
    key_of,
)
from langchain_dbx_eval.reporting.dashboard.run_metrics import RunMetrics, describe_run
from langchain_dbx_eval.reporting.dashboard.tables import MetricsTable, open_table

__all__ = ["AppendedMetrics", "append_metrics_to_table"]

_logger = get_logger(__name__)
# Each round reads what the table has and writes what it lacks. A conflict with another writer, and
# a writer of other metrics for the same run, cause another round.
_MAX_ROUNDS = 20


@dataclass(frozen=True)
class AppendedMetrics:
    """What `append_metrics_to_table` did.

    Attributes:
        table: The table and where it is stored.
        form: The form of the table.
        run_id: The id of the run, if it is known.
        written: Whether anything was written; False if the table had these metrics already.
        renamed: Columns by metric, of metrics whose name a table does not accept; wide form only.
    """

    table: str
    form: Form
    run_id: str | None
    written: bool
    renamed: Mapping[str, str] = field(default_factory=dict)


def append_metrics_to_table(
    run_name: str,
    mlflow_metrics: Mapping[str, float] | EvaluationResult,
    delta_table_name: str,
    *,
    form: Form | None = None,
    run_id: str | None = None,
    timestamp: datetime | None = None,
    backend: str | None = None,
    warehouse_id: str | None = None,
    workspace_client: Any = None,
    timeout: float = 300.0,
) -> AppendedMetrics:
    """Append the metrics of a run to a table, for a dashboard of the quality over time.

    The function of Databricks' documentation ("Create a dashboard using metrics"), which loses
    ``run_name`` and ``timestamp``, with the same first three arguments. Each run is in the table
    once: repeating the call writes nothing. A run with an id that has other metrics than before,
    such as an evaluation that was resumed, replaces its rows.

    Args:
        run_name: What identifies the run in the dashboard.
        mlflow_metrics: The metrics by name, such as ``run.data.metrics``, or an
            `EvaluationResult`: then intervals, coverage, run id, dataset and model are stored too.
        delta_table_name: The table, ``catalog.schema.table``; it is created if it does not exist.
        form: ``"long"``: one row per run and metric; ``"wide"``: one row per run and one column per
            metric. Default: that of the table, and long for a new one.
        run_id: The id of the run. Default: that of the `EvaluationResult`; of other metrics, the
            name identifies the run.
        timestamp: The time of the run, local if it has no zone. Default: the start of the
            evaluation, or the present time.
        backend: ``"spark"``, ``"warehouse"`` or ``"local"``. Default: as `EvalDataset.create`.
        warehouse_id: The SQL warehouse; default: ``DATABRICKS_WAREHOUSE_ID``.
        workspace_client: A `databricks.sdk.WorkspaceClient`; default: the SDK's default login.
        timeout: Total timeout of a statement in seconds, including the start-up of its warehouse.

    Returns:
        Where the metrics are, and the columns of metrics whose name a table does not accept.

    Raises:
        ConfigurationError: An argument is invalid.
        AlreadyExistsError: The table has a run of this name with other metrics, and no run id tells
            whether it is the same run.
        SchemaError: The table cannot store the metrics.
        DatabricksError: The table cannot be written to.
    """
    options = LoadOptions(
        backend=backend,
        warehouse_id=warehouse_id,
        workspace_client=workspace_client,
        timeout=timeout,
    )
    name = TableName.parse(delta_table_name)
    run = describe_run(run_name, mlflow_metrics, run_id, timestamp)
    if isinstance(mlflow_metrics, EvaluationResult) and not mlflow_metrics.is_complete:
        _logger.warning(
            "The evaluation %s is incomplete: append it again when it is complete, which replaces "
            "these metrics.",
            run.run_id,
        )
    table = open_table(name, options)
    with table.lock():
        encoded, chosen, written = _write(table, run, form, str(name))
    for metric, column in encoded.renamed.items() if written else ():
        _logger.warning("%s stores the metric %r in the column %r.", name, metric, column)
    return AppendedMetrics(table.description, chosen, run.run_id, written, encoded.renamed)


def _write(
    table: MetricsTable, run: RunMetrics, form: Form | None, name: str
) -> tuple[EncodedRun, Form, bool]:
    """Write until the table has the run, so that a conflict or a lost response loses nothing."""
    appended_at = datetime.now(timezone.utc)
    written = False

    def write_unless_stored() -> tuple[EncodedRun, Form] | None:
        existing = table.columns()
        chosen = choose_form(existing, form, name)
        stored = _stored_runs(table, run, existing)
        moment = run.timestamp or (stored[0].timestamp if stored else None) or appended_at
        encoded = encode_run(replace(run, timestamp=moment), chosen, existing)
        if existing is not None and any(_is_same(old, run, encoded, existing) for old in stored):
            return encoded, chosen
        if stored and run.run_id is None:
            raise _ambiguous(run, stored[0], name)
        table.write(encoded, key_of(run), existing)
        return None

    policy = RetryPolicy(
        _MAX_ROUNDS, is_retryable=table.is_conflict, initial_wait=0.1, max_wait=5.0
    )
    msg = f"Other writers kept changing {name}. Append the metrics again."
    for _ in range(_MAX_ROUNDS):
        try:
            stored = policy.run(write_unless_stored)
        except Exception as error:
            if not table.is_conflict(error):
                raise
            raise DatabricksError(msg, retryable=True) from error
        if stored is not None:
            return *stored, written
        written = True
    raise DatabricksError(msg, retryable=True)


def _stored_runs(
    table: MetricsTable, run: RunMetrics, existing: Mapping[str, str] | None
) -> list[RunMetrics]:
    key = key_of(run)
    if existing is None or not key.keys() <= existing.keys():
        return []
    return decode_runs(table.rows(key), existing)


def _is_same(
    old: RunMetrics, run: RunMetrics, encoded: EncodedRun, existing: Mapping[str, str]
) -> bool:
    """Return whether the table has a run already; without an id, its values by name suffice."""
    [new] = decode_runs(encoded.rows, encoded.columns)
    if run.run_id is None:
        return old.values == new.values
    return old == new and encoded.columns.keys() <= existing.keys()


def _ambiguous(run: RunMetrics, old: RunMetrics, name: str) -> AlreadyExistsError:
    when = f" of {old.timestamp:%Y-%m-%d %H:%M} UTC" if old.timestamp else ""
    return AlreadyExistsError(
        f"Nothing was written: {name} has a run {run.run_name!r}{when} with other metrics. Pass "
        "run_id= (the id of the MLflow run), an EvaluationResult, or another run_name."
    )
