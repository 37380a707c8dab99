"""The results as a table and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from statistics import median

from benchmarks.clients.tasks import CLIENTS, THRESHOLDS, Threshold
from benchmarks.processes import WorkerError

Figures = dict[str, list[float]]
"""The figures of each client, one per round."""


@dataclass(frozen=True)
class Row:
    """The results of one task or import.

    Attributes:
        name: The name in `THRESHOLDS` and in the JSON.
        title: The title with the unit.
        figures: The figures in that unit.
        failures: The errors of clients that failed.
    """

    name: str
    title: str
    figures: Figures = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def add(self, client: str, figure: float) -> None:
        """Add the figure of a round."""
        self.figures.setdefault(client, []).append(figure)

    @contextmanager
    def recording_failures_of(self, client: str) -> Iterator[None]:
        """Record the failure of a client instead of raising it."""
        try:
            yield
        except WorkerError as error:
            self.failures[client] = str(error)

    def median_of(self, client: str) -> float | None:
        """Return the median of a client's rounds; None: it has none."""
        rounds = self.figures.get(client)
        return median(rounds) if rounds else None

    def ratio(self, client: str, reference: str) -> float | None:
        """Return the median of a client divided by that of another."""
        numerator, denominator = self.median_of(client), self.median_of(reference)
        return numerator / denominator if numerator is not None and denominator else None


def table(rows: list[Row]) -> str:
    """Format all rows: the figure of each client, and in brackets ours divided by it."""
    columns = ("core", *CLIENTS)
    shown = [name for name in columns if any(name in row.figures for row in rows)]
    width = max(len(row.title) for row in rows)
    lines = ["".ljust(width) + "".join(name.rjust(23) for name in shown)]
    for row in rows:
        cells = (_cell(row, client) for client in shown)
        lines.append(row.title.ljust(width) + "".join(cell.rjust(23) for cell in cells))
    lines.append("Medians of all rounds. In brackets: ours divided by theirs.")
    lines += [
        f"{client} failed in {row.title}: {reason}"
        for row in rows
        for client, reason in row.failures.items()
    ]
    return "\n".join(lines)


def ratios(rows: list[Row]) -> Iterator[tuple[Threshold, float, bool]]:
    """Yield each threshold that could be measured, its ratio, and whether it is met."""
    by_name = {row.name: row for row in rows}
    for threshold in THRESHOLDS:
        row = by_name.get(threshold.row)
        ratio = row.ratio("ours", threshold.reference) if row else None
        if ratio is not None:
            yield threshold, ratio, ratio <= threshold.at_most


def ratio_table(rows: list[Row]) -> str:
    """Format the measured thresholds."""
    return "\n".join(
        f"{'met   ' if met else 'MISSED'}  {threshold.row}: {ratio:.2f} of {threshold.reference}, "
        f"at most {threshold.at_most:g}"
        for threshold, ratio, met in ratios(rows)
    )


def as_json(rows: list[Row], facts: dict[str, object]) -> dict[str, object]:
    """Return all figures of all rounds."""
    return {
        **facts,
        "rows": [
            {
                "name": row.name,
                "title": row.title,
                "figures": row.figures,
                "ours_divided_by": {client: row.ratio("ours", client) for client in row.figures},
                "failures": row.failures,
            }
            for row in rows
        ],
        "thresholds": [
            {**asdict(threshold), "ratio": ratio, "met": met}
            for threshold, ratio, met in ratios(rows)
        ],
    }


def _cell(row: Row, client: str) -> str:
    figure = row.median_of(client)
    if figure is None:
        return "failed" if client in row.failures else "-"
    ratio = row.ratio("ours", client)
    if client == "ours" or ratio is None:
        return f"{figure:.3g}"
    return f"{figure:.3g} ({ratio:.2f})"
