"""The metrics of a run in MLflow, under names that MLflow accepts.

The names of scorers and groups of guidelines are part of the names of metrics, and may contain any
character. In the result and its table they stay as they are.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from langchain_dbx_eval._internal.log import get_logger
from langchain_dbx_eval.evaluation.tracking.store_access import is_transient

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run
    from mlflow.exceptions import MlflowException

__all__ = ["legal_metric_names", "log_metrics"]

_logger = get_logger(__name__)

# MLflow 3.17: `mlflow.utils.validation`, `MAX_METRICS_PER_BATCH`.
_REFUSED = re.compile(r"[^/\w.\- :]+")
_MAX_NAME = 250
_MAX_METRICS = 1000
_MAX_SHOWN = 5


def legal_metric_names(names: Iterable[str]) -> dict[str, str]:
    """Return the name in MLflow of each metric.

    Characters other than letters, digits and ``/_.-: `` become ``_``, and so do the parts of a path
    that are empty, ``.`` or ``..``. A name that another metric has then, or that is longer than
    250 characters, ends with a hash of the original name.

    Args:
        names: The names of all metrics of a run.

    Returns:
        The names in MLflow, no two of which are equal, by name.
    """
    legal = {name: _replace_refused(name) for name in names}
    uses = Counter(legal.values())
    for name, replaced in legal.items():
        if replaced != name and (uses[replaced] > 1 or len(replaced) > _MAX_NAME):
            legal[name] = _with_hash(name, replaced)
        elif len(name) > _MAX_NAME:
            legal[name] = _with_hash(name, name)
    return legal


def _replace_refused(name: str) -> str:
    parts = _REFUSED.sub("_", name).split("/")
    replaced = "/".join("_" if part in ("", ".", "..") else part for part in parts)
    # MLflow takes "..name" for a path outside of the current one.
    return f"__{replaced[2:]}" if replaced.startswith("..") else replaced


def _with_hash(name: str, replaced: str) -> str:
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{replaced[: _MAX_NAME - 9]}_{digest}"


def log_metrics(
    client: MlflowClient, run: Run, metrics: Mapping[str, float], tags: Mapping[str, str]
) -> None:
    """Log the metrics of a run that have changed; one that MLflow refuses does not stop the others.

    Args:
        client: The client.
        run: The run with its present metrics.
        metrics: The values by name in MLflow.
        tags: Tags to set, in the transaction of the first metrics.

    Raises:
        MlflowException: The store refuses the tags or all metrics, or cannot be written to.
    """
    from mlflow.entities import Metric, RunTag
    from mlflow.exceptions import MlflowException

    run_id, logged = run.info.run_id, run.data.metrics
    now = time.time_ns() // 1_000_000
    changed = [
        Metric(name, float(value), now, 0)
        for name, value in metrics.items()
        if logged.get(name) != value
    ]
    run_tags = [RunTag(*tag) for tag in tags.items()]
    refused: dict[str, MlflowException] = {}
    for start in range(0, max(1, len(changed)), _MAX_METRICS):
        batch = changed[start : start + _MAX_METRICS]
        try:
            client.log_batch(run_id, batch, tags=run_tags)
        except MlflowException as error:
            if is_transient(error):
                raise
            if run_tags:
                client.log_batch(run_id, tags=run_tags)
            refused |= _log_one_by_one(client, run_id, batch)
        run_tags = []
    if refused:
        first = next(iter(refused.values()))
        if len(refused) == len(metrics):
            raise first
        names = ", ".join(list(refused)[:_MAX_SHOWN])
        _logger.warning("MLflow refused %d metrics (%s): %s", len(refused), names, first)


def _log_one_by_one(
    client: MlflowClient, run_id: str, metrics: Iterable[Metric]
) -> dict[str, MlflowException]:
    from mlflow.exceptions import MlflowException

    refused: dict[str, MlflowException] = {}
    for metric in metrics:
        try:
            client.log_batch(run_id, [metric])
        except MlflowException as error:
            if is_transient(error):
                raise
            refused[metric.key] = error
    return refused
