"""The table, the verdicts and the JSON."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median

from benchmarks.clients.processes import ClientError
from benchmarks.clients.tasks import BARS, CLIENTS, Bar

Figures = dict[str, list[float]]
"""For each client, one figure a round."""


@dataclass(frozen=True)
class Row:
    """What one measurement gave.

    Attributes:
        name: Its name in `BARS` and in the JSON.
        title: What was measured, and in which unit.
        figures: In that unit.
        failures: What a client said that could not do it.
    """

    name: str
    title: str
    figures: Figures = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def add(self, client: str, figure: float) -> None:
        """Note what a round gave."""
        self.figures.setdefault(client, []).append(figure)

    @contextmanager
    def noting_failures_of(self, client: str) -> Iterator[None]:
        """Let one client's failure be its own, and the others go on."""
        try:
            yield
        except ClientError as error:
            self.failures[client] = str(error)

    def of(self, client: str) -> float | None:
        """A client's figure: the median of its rounds."""
        rounds = self.figures.get(client)
        return median(rounds) if rounds else None

    def ratio(self, client: str, to: str) -> float | None:
        """How many times another's figure a client's is."""
        mine, other = self.of(client), self.of(to)
        return mine / other if mine is not None and other else None


def table(rows: list[Row]) -> str:
    """All rows: each client's figure, and in brackets ours as a multiple of it."""
    columns = ("core", *CLIENTS)
    shown = [name for name in columns if any(name in row.figures for row in rows)]
    width = max(len(row.title) for row in rows)
    lines = ["".ljust(width) + "".join(name.rjust(23) for name in shown)]
    for row in rows:
        cells = (_cell(row, client) for client in shown)
        lines.append(row.title.ljust(width) + "".join(cell.rjust(23) for cell in cells))
    lines.append("In brackets: ours as a multiple of theirs. Medians of all rounds.")
    lines += [
        f"{client} could not do {row.title}: {reason}"
        for row in rows
        for client, reason in row.failures.items()
    ]
    return "\n".join(lines)


def verdicts(rows: list[Row]) -> Iterator[tuple[Bar, float, bool]]:
    """Each bar that could be judged, the ratio that was measured, and whether the bar is met."""
    by_name = {row.name: row for row in rows}
    for bar in BARS:
        if bar.row in by_name and (ratio := by_name[bar.row].ratio("ours", bar.to)) is not None:
            yield bar, ratio, ratio <= bar.at_most


def told(rows: list[Row]) -> str:
    """The verdicts as text."""
    return "\n".join(
        f"{'met   ' if met else 'MISSED'}  {bar.row}: {ratio:.2f} of {bar.to}, "
        f"at most {bar.at_most:g}"
        for bar, ratio, met in verdicts(rows)
    )


def as_json(rows: list[Row], facts: dict[str, object]) -> dict[str, object]:
    """Everything that was measured, round by round."""
    return {
        **facts,
        "rows": [
            {
                "name": row.name,
                "title": row.title,
                "figures": row.figures,
                "ours_as_a_multiple_of": {
                    client: row.ratio("ours", client) for client in row.figures
                },
                "failures": row.failures,
            }
            for row in rows
        ],
        "bars": [
            {"row": bar.row, "to": bar.to, "at_most": bar.at_most, "ratio": ratio, "met": met}
            for bar, ratio, met in verdicts(rows)
        ],
    }


def _cell(row: Row, client: str) -> str:
    figure = row.of(client)
    if figure is None:
        return "failed" if client in row.failures else "-"
    ratio = row.ratio("ours", client)
    if client == "ours" or ratio is None:
        return f"{figure:.3g}"
    return f"{figure:.3g} ({ratio:.2f})"
