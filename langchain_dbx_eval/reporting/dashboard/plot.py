"""Scores over time with their intervals, with matplotlib."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from langchain_dbx_eval._internal.imports import require
from langchain_dbx_eval.reporting.dashboard.run_metrics import MetricPoint, RunMetrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_history"]

_COLUMNS = 2
# Colors that people with a color vision deficiency can tell apart: Okabe and Ito, "Color Universal
# Design" (2008).
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MAX_LABELS = 12
_MAX_LABEL = 24


def plot_history(runs: Sequence[RunMetrics], names: Sequence[str]) -> Figure:
    """Plot metrics over the runs, one panel per metric and one line per dataset.

    The runs have equal distances: their times may be seconds or months apart. A hollow point is a
    run of which rows are missing in the metric.
    """
    # pyplot registers the display of figures in notebooks.
    pyplot = require("matplotlib.pyplot", extra="eval")
    datasets = list(dict.fromkeys(run.dataset for run in runs))
    rows = -(-len(names) // _COLUMNS)
    columns = min(_COLUMNS, len(names))
    figure, axes = pyplot.subplots(
        rows,
        columns,
        sharex=True,
        squeeze=False,
        figsize=(6.4 * columns, 2.4 * rows + 1),
        layout="constrained",
    )
    panels = axes.flat
    for panel, name in zip(panels, names, strict=False):
        for number, dataset in enumerate(datasets):
            _draw(panel, runs, name, dataset, _COLORS[number % len(_COLORS)])
        panel.set_title(_plain(name), fontsize=9, loc="left")
        panel.grid(axis="y", alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
        panel.margins(y=0.1)
    for panel in panels[len(names) :]:
        panel.set_visible(False)
    _label_runs(axes, runs, len(names))
    if len(datasets) > 1:
        handles, labels = axes[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=len(labels), frameon=False)
    # Closed in pyplot, so that a notebook does not show it a second time.
    pyplot.close(figure)
    return figure  # type: ignore[no-any-return]


def _draw(
    panel: Any, runs: Sequence[RunMetrics], name: str, dataset: str | None, color: str
) -> None:
    points = [
        (position, run.metrics[name])
        for position, run in enumerate(runs)
        if run.dataset == dataset and name in run.metrics
    ]
    found = [(x, point, point.value) for x, point in points if point.value is not None]
    label = "no dataset" if dataset is None else _plain(dataset)
    xs, ys = [x for x, _, _ in found], [value for _, _, value in found]
    panel.plot(xs, ys, color=color, linewidth=1.5, label=label)
    for x, point, value in found:
        if point.low is not None and point.high is not None:
            # "butt": by default, a line is longer than its ends by half of its width.
            panel.plot(
                [x, x],
                [point.low, point.high],
                color=color,
                linewidth=5,
                alpha=0.25,
                solid_capstyle="butt",
            )
        face = color if _is_complete(point) else "white"
        panel.plot(x, value, "o", markersize=5, color=color, markerfacecolor=face)


def _is_complete(point: MetricPoint) -> bool:
    return point.n == point.total


def _label_runs(axes: Any, runs: Sequence[RunMetrics], panels: int) -> None:
    step = -(-len(runs) // _MAX_LABELS)
    positions = range(0, len(runs), step)
    labels = []
    for position in positions:
        run = runs[position]
        date = "" if run.timestamp is None else f"\n{run.timestamp:%Y-%m-%d}"
        labels.append(f"{_plain(run.run_name)}{date}")
    for number, panel in enumerate(axes.flat):
        panel.set_xticks(list(positions), labels, rotation=45, ha="right", fontsize=8)
        # The lowest visible panel of each column has the labels.
        panel.tick_params(labelbottom=number < panels <= number + _COLUMNS)


def _plain(text: str) -> str:
    """Return a text on one line, without matplotlib's formulas, that fits beside an axis."""
    line = re.sub(r"[\s\x00-\x1f\x7f]+", " ", text)
    if len(line) > _MAX_LABEL and "/" not in line:
        line = f"{line[: _MAX_LABEL - 1]}…"
    return line.replace("$", r"\$")
