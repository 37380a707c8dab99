"""The metrics of one run, as a table stores them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from numbers import Real
from typing import Any

from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.evaluation import EvaluationResult
from langchain_dbx_eval.reporting.html.run import metric_kind

__all__ = ["MetricPoint", "RunMetrics", "describe_run"]

_MODELS = ("LLM", "CHAT_MODEL")
# Neither has a representation in every store: half of a surrogate pair has no UTF-8.
_NOT_STORABLE = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True)
class MetricPoint:
    """One metric of one run.

    Attributes:
        kind: ``"score"``, ``"operational"`` (latency, tokens, cost) or ``"count"`` (of rows that
            failed, are empty, or whose scorer had an error).
        value: The value; None if it is not a number.
        low: Lower bound of its 95 % interval; None if there is none, or it is not known.
        high: Its upper bound.
        n: Number of rows that it covers; None if it is not known.
        total: Number of rows that it should cover.
        failures_as_zero: The value with failed rows as 0.
    """

    kind: str
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    total: int | None = None
    failures_as_zero: float | None = None


@dataclass(frozen=True, kw_only=True)
class RunMetrics:
    """The metrics of one run.

    Attributes:
        run_name: The name that was given to `append_metrics_to_table`.
        timestamp: Start of the evaluation; else when the metrics were appended; None in a row that
            the function of the documentation appended, which loses it.
        run_id: The id of the MLflow run, or of the evaluation; None if it is not known.
        experiment_id: The id of the MLflow experiment.
        dataset: Name or source of the dataset.
        dataset_version: Its version.
        model: The names of the models that were called, and the fingerprint of the whole chain.
        metrics: The metrics by name.
    """

    run_name: str
    timestamp: datetime | None = None
    run_id: str | None = None
    experiment_id: str | None = None
    dataset: str | None = None
    dataset_version: str | None = None
    model: str | None = None
    metrics: Mapping[str, MetricPoint] = field(default_factory=dict, repr=False)

    @property
    def values(self) -> dict[str, float | None]:
        """The values by name, without those that are not a number."""
        return {name: p.value for name, p in self.metrics.items() if p.value is not None}


def describe_run(
    run_name: str,
    metrics: Mapping[str, float] | EvaluationResult,
    run_id: str | None,
    timestamp: datetime | None,
) -> RunMetrics:
    """Return the metrics of a run, with all that is known about them.

    Raises:
        ConfigurationError: An argument is invalid, or a metric is not a number.
    """
    if not isinstance(run_name, str) or not run_name.strip():
        msg = f"`run_name` must be a text that identifies the run in the table, got {run_name!r}."
        raise ConfigurationError(msg)
    if timestamp is not None and not isinstance(timestamp, datetime):
        msg = f"`timestamp` must be a datetime, got {timestamp!r}."
        raise ConfigurationError(msg)
    name = _storable(run_name)
    # A time without a zone is local, as `datetime.now()` is.
    moment = None if timestamp is None else timestamp.astimezone(timezone.utc)
    if isinstance(metrics, EvaluationResult):
        return _describe_result(name, metrics, run_id, moment)
    if not isinstance(metrics, Mapping):
        msg = (
            "`mlflow_metrics` must be the metrics of a run by name, or an EvaluationResult, got "
            f"{type(metrics).__name__}. Of a run of MLflow, pass run.data.metrics."
        )
        raise ConfigurationError(msg)
    points = {
        _storable(str(key)): MetricPoint(metric_kind(str(key)), _number(str(key), value))
        for key, value in metrics.items()
    }
    if not points:
        msg = f"`mlflow_metrics` of the run {run_name!r} is empty: there is nothing to append."
        raise ConfigurationError(msg)
    return RunMetrics(run_name=name, timestamp=moment, run_id=run_id, metrics=points)


def _describe_result(
    run_name: str, result: EvaluationResult, run_id: str | None, timestamp: datetime | None
) -> RunMetrics:
    manifest, summary = result.manifest, result.summary
    dataset = manifest.dataset or {}
    started = datetime.fromisoformat(manifest.created_at).astimezone(timezone.utc)
    points = {}
    for name, value in summary.metrics.items():
        detail = summary.details.get(name)
        point = MetricPoint(metric_kind(name), _number(name, value))
        if detail is not None:
            low, high = detail.interval or (None, None)
            point = MetricPoint(
                point.kind,
                point.value,
                low=_finite(low),
                high=_finite(high),
                n=detail.n,
                total=detail.total,
                failures_as_zero=_finite(detail.failures_as_zero),
            )
        points[_storable(name)] = point
    source = dataset.get("name") or dataset.get("source")
    version = dataset.get("version")
    return RunMetrics(
        run_name=run_name,
        timestamp=timestamp or started,
        run_id=run_id or result.run_id or result.evaluation_id,
        experiment_id=result.experiment_id,
        dataset=None if source is None else _storable(str(source)),
        dataset_version=None if version is None else str(version),
        model=_model_of(result),
        metrics=points,
    )


def _model_of(result: EvaluationResult) -> str:
    names = {
        span.name
        for row in result.rows
        if row.run is not None
        for span in row.run.spans
        if span.kind in _MODELS
    }
    fingerprint = result.manifest.model
    return f"{_storable(', '.join(sorted(names)))} ({fingerprint})" if names else fingerprint


def _number(name: str, value: Any) -> float | None:
    """Return a metric as a number; None for NaN, which is no value."""
    if not isinstance(value, Real):
        msg = f"The metric {name!r} must be a number, got {value!r}."
        raise ConfigurationError(msg)
    number = float(value)
    return None if math.isnan(number) else number


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _storable(text: str) -> str:
    return _NOT_STORABLE.sub(lambda match: f"\ufffd<U+{ord(match[0]):04X}>", text)
