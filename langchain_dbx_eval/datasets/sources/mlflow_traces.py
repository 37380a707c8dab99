"""The traces of an MLflow experiment as records."""

from __future__ import annotations

from langchain_dbx_eval._internal.imports import require
from langchain_dbx_eval.datasets.sources.memory import MemorySource
from langchain_dbx_eval.datasets.sources.mlflow_store import mlflow_errors
from langchain_dbx_eval.errors import NotFoundError

__all__ = ["open_traces"]


def open_traces(experiment: str | None, filter_string: str | None, limit: int) -> MemorySource:
    """Read traces, the newest first.

    Args:
        experiment: The experiment's name or id; None: the current one.
        filter_string: MLflow's search expression.
        limit: The maximum number of traces.

    Raises:
        NotFoundError: The experiment does not exist.
    """
    mlflow = require("mlflow", extra="eval")
    with mlflow_errors("Reading traces"):
        locations = None if experiment is None else [_experiment_id(experiment)]
        traces = mlflow.search_traces(
            locations=locations,
            filter_string=filter_string,
            max_results=limit,
            return_type="list",
            flush=True,
        )
    label = "the current experiment" if experiment is None else f"experiment {experiment!r}"
    return MemorySource(traces, f"{len(traces)} traces of {label}")


def _experiment_id(experiment: str) -> str:
    import mlflow

    found = mlflow.get_experiment_by_name(experiment)
    if found is None and experiment.isdigit():
        found = mlflow.get_experiment(experiment)
    if found is None:
        msg = f"MLflow has no experiment {experiment!r} at {mlflow.get_tracking_uri()}."
        raise NotFoundError(msg)
    return str(found.experiment_id)
