"""`history`: the runs of a table of metrics, in the order of their time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from html import escape
from typing import TYPE_CHECKING, Any, overload

from langchain_dbx_eval._internal.imports import require
from langchain_dbx_eval.datasets.base import LoadOptions
from langchain_dbx_eval.datasets.schema.table_name import TableName
from langchain_dbx_eval.errors import ConfigurationError, NotFoundError
from langchain_dbx_eval.reporting.dashboard.forms import choose_form, decode_runs
from langchain_dbx_eval.reporting.dashboard.run_metrics import MetricPoint, RunMetrics
from langchain_dbx_eval.reporting.dashboard.tables import open_table
from langchain_dbx_eval.scoring.aggregates import Metrics
from langchain_dbx_eval.scoring.aggregates.repeats import number_text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["MetricsHistory", "history"]

_MAX_SHOWN_RUNS = 30


class MetricsHistory(Sequence[RunMetrics]):
    """The runs of a table of metrics, oldest first.

    Attributes:
        table: The table and where it is stored.
    """

    def __init__(self, table: str, runs: Sequence[RunMetrics]) -> None:
        self.table = table
        self._runs = tuple(runs)

    def __len__(self) -> int:
        return len(self._runs)

    @overload
    def __getitem__(self, index: int) -> RunMetrics: ...
    @overload
    def __getitem__(self, index: slice) -> MetricsHistory: ...
    def __getitem__(self, index: int | slice) -> RunMetrics | MetricsHistory:
        if isinstance(index, slice):
            return MetricsHistory(self.table, self._runs[index])
        return self._runs[index]

    def __iter__(self) -> Iterator[RunMetrics]:
        return iter(self._runs)

    def __repr__(self) -> str:
        return f"MetricsHistory({len(self)} runs of {self.table})"

    def metric_names(self, kind: str | None = "score") -> list[str]:
        """Return the names of the metrics that any run has.

        Args:
            kind: ``"score"``, ``"operational"`` or ``"count"``; None: all.
        """
        return sorted(
            {
                name
                for run in self
                for name, point in run.metrics.items()
                if kind in (None, point.kind)
            }
        )

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per run and metric, in the columns of the long form."""
        pandas = require("pandas", extra="eval")
        names = [item.name for item in fields(RunMetrics) if item.name != "metrics"]
        points = [item.name for item in fields(MetricPoint)]
        rows = [
            {**{n: getattr(run, n) for n in names}, "metric": metric, **asdict(point)}
            for run in self
            for metric, point in run.metrics.items()
        ]
        frame: pd.DataFrame = pandas.DataFrame(rows, columns=[*names, "metric", *points])
        numbers = {name: "Int64" if name in ("n", "total") else "float64" for name in points[1:]}
        return frame.astype(numbers)

    def plot(self, *metrics: str) -> Figure:
        """Plot metrics over time with their 95 % intervals, one panel per metric.

        Args:
            *metrics: Their names, an alias, or the name of a scorer alone. Default: all scores.

        Returns:
            The figure, which a notebook shows; ``figure.savefig("quality.png")`` stores it.

        Raises:
            ConfigurationError: No run has a metric of this name, or there is no score.
            MissingDependencyError: matplotlib is not installed.
        """
        from langchain_dbx_eval.reporting.dashboard.plot import plot_history

        names = [self._resolve(name) for name in metrics] or self.metric_names()
        if not names:
            msg = f"{self.table} has no score to plot. Name a metric: {self._known()}."
            raise ConfigurationError(msg)
        return plot_history(self._runs, list(dict.fromkeys(names)))

    def _resolve(self, name: str) -> str:
        known = Metrics(dict.fromkeys(self.metric_names(None), 0.0))
        candidates = known.candidates(name)
        if len(candidates) == 1:
            return candidates[0]
        reason = f"may be {' or '.join(candidates)}" if candidates else "is not known"
        msg = f"{self.table}: the metric {name!r} {reason}. It has: {self._known()}."
        raise ConfigurationError(msg)

    def _known(self) -> str:
        return ", ".join(self.metric_names(None)) or "none"

    def _repr_html_(self) -> str:
        """Return a table of the scores, the newest run first."""
        names, runs = self.metric_names(), self._runs[::-1][:_MAX_SHOWN_RUNS]
        title = f"{len(self)} runs of {self.table}"
        if len(runs) < len(self):
            title += f", the newest {len(runs)}"
        head = "".join(f"<th>{escape(text)}</th>" for text in ("run", "time", "dataset", *names))
        lines = []
        for run in runs:
            time = "" if run.timestamp is None else f"{run.timestamp:%Y-%m-%d %H:%M}"
            texts = [run.run_name, time, run.dataset or "", *(_cell(run, name) for name in names)]
            warning = _failures(run)
            texts[0] += f" ({warning})" if warning else ""
            lines.append("".join(f"<td>{escape(text)}</td>" for text in texts))
        body = "".join(f"<tr>{line}</tr>" for line in lines)
        return f"<p>{escape(title)}</p><table><tr>{head}</tr>{body}</table>"


def history(
    table: str,
    *,
    backend: str | None = None,
    warehouse_id: str | None = None,
    workspace_client: Any = None,
    timeout: float = 300.0,
) -> MetricsHistory:
    """Read the runs of a table that `append_metrics_to_table` wrote.

    Args:
        table: The table, ``catalog.schema.table``, in the long or the wide form.
        backend: See `append_metrics_to_table`.
        warehouse_id: See there.
        workspace_client: See there.
        timeout: See there.

    Returns:
        The runs in the order of their time; runs without a time, which the function of the
        documentation appended, come first.

    Raises:
        NotFoundError: The table does not exist.
        SchemaError: The table has other contents than metrics.
        DatabricksError: The table cannot be read.
    """
    options = LoadOptions(
        backend=backend,
        warehouse_id=warehouse_id,
        workspace_client=workspace_client,
        timeout=timeout,
    )
    name = TableName.parse(table)
    opened = open_table(name, options)
    columns = opened.columns()
    if columns is None:
        msg = (
            f"There is no table {opened.description}. append_metrics_to_table creates it, and "
            "backend= selects where it is."
        )
        raise NotFoundError(msg)
    choose_form(columns, None, str(name))
    return MetricsHistory(opened.description, decode_runs(opened.rows(), columns))


def _cell(run: RunMetrics, name: str) -> str:
    point = run.metrics.get(name)
    if point is None or point.value is None:
        return ""
    text = number_text(point.value)
    if point.low is not None and point.high is not None:
        text += f" [{number_text(point.low)}, {number_text(point.high)}]"
    return text if point.n in (None, point.total) else f"{text}, {point.n} of {point.total} rows"


def _failures(run: RunMetrics) -> str:
    """Return what the scores of a run do not cover: ``3 failed``; empty if nothing is missing."""
    found = []
    for name in ("failed", "empty", "unknown"):
        point = run.metrics.get(f"rows/{name}")
        if point is not None and point.value:
            found.append(f"{point.value:.0f} {name}")
    return ", ".join(found)
