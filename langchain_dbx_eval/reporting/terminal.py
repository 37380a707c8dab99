"""An evaluation, and a comparison of evaluations, in the terminal."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from langchain_dbx_eval._internal.imports import require
from langchain_dbx_eval._internal.log import escape_control
from langchain_dbx_eval.evaluation import EvaluationResult
from langchain_dbx_eval.evaluation.journal.rows import Row
from langchain_dbx_eval.reporting.comparison import Comparison, Flip, MetricDifference
from langchain_dbx_eval.reporting.html.rows import describe_row
from langchain_dbx_eval.reporting.metric_names import (
    displayed_differences,
    displayed_summaries,
    short_names,
)
from langchain_dbx_eval.reporting.overview import (
    DIFFERENCE_TITLES,
    VERDICT_TEXTS,
    comparison_title,
    difference_texts,
    find_worst,
    flipped_rows,
    headline,
    labels,
    plural,
    resources,
    significant_differences,
)
from langchain_dbx_eval.scoring.aggregates import MetricSummary
from langchain_dbx_eval.scoring.aggregates.repeats import number_text
from langchain_dbx_eval.scoring.contract import OVERALL_ASSESSMENT

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from langchain_dbx_eval.reporting.html.model import RatingDetail

__all__ = ["comparison_text", "print_comparison", "print_result"]

_MAX_FLIPS = 8
_MAX_CAUSES = 5
_MAX_LINES = 3
_MAX_ID = 40


class _Cell(NamedTuple):
    text: str
    style: str = ""


def print_result(result: EvaluationResult, console: Console, *, worst: int = 3) -> None:
    """Print an evaluation: failures first, then the metrics and the worst rows.

    Each metric has its full name, on a line of its own where the terminal is too narrow for a line
    with its numbers.

    Args:
        result: The evaluation.
        console: The console to print to.
        worst: The maximum number of rows to print.

    Raises:
        MissingDependencyError: The extra ``eval`` is not installed.
    """
    require("rich", extra="eval")
    from rich.text import Text

    summary, found = result.summary, find_worst(result, worst)
    sentence, is_bad = headline(result)
    _print(console, Text(_line(sentence), "bold red" if is_bad else "bold green"))
    if found.causes:
        counts = [f"{name} {count}" for name, count in found.causes.items()]
        more = "" if len(counts) <= _MAX_CAUSES else ", …"
        _print(console, Text(f"Root causes: {', '.join(counts[:_MAX_CAUSES])}{more}"))
    for name, text in labels(result):
        _print(console, Text.assemble((f"{name} ", "dim"), _line(text)))
    if used := resources(result):
        _print(console, Text.assemble(("Used ", "dim"), used))
    titles = ["Metric", "Value", "95 % interval", "Rows"]
    lines = [[_Cell(_line(m.name)), *_metric_cells(m)] for m in displayed_summaries(summary)]
    if any(len(cells) > len(titles) for cells in lines):
        titles.append("Failures as 0")
    _print(console, Text())
    _print_columns(console, titles, lines, short_names(summary.details))
    for note in summary.notes():
        _print(console, Text(_line(note), "dim"))
    if found.rows:
        _print(console, Text(f"\nThe {plural(len(found.rows), 'worst row')}", "bold"))
    for row in found.rows:
        _print(console, _row_title(row))
        console.print(_row_table(row, console.width), highlight=False)


def print_comparison(comparison: Comparison, console: Console, *, flips: int = _MAX_FLIPS) -> None:
    """Print the differences between an evaluation and its baselines.

    A difference is green or red if it is significant. Each metric has its full name, on a line of
    its own where the terminal is too narrow for a line with its numbers.

    Args:
        comparison: The result of `compare`.
        console: The console to print to.
        flips: The maximum number of rows to print whose pass or fail changed.

    Raises:
        MissingDependencyError: The extra ``eval`` is not installed.
    """
    require("rich", extra="eval")
    from rich.text import Text

    for number, one in enumerate((comparison, *comparison.others), 1):
        _print(console, Text(comparison_title(one, number), "bold"))
        displayed = displayed_differences(one.metrics)
        short = short_names([metric.name for metric in one.metrics])
        better, worse = significant_differences(displayed.values())
        style = "red" if worse else "green" if better else ""
        _print(console, Text(f"Significantly worse: {worse}, better: {better}", style))
        _print(console, Text())
        _print_columns(
            console,
            DIFFERENCE_TITLES,
            [_difference_cells(metric) for metric in displayed.values()],
            short,
        )
        if better or worse:
            text = "* significant: p below 0.05, corrected for the number of metrics"
            _print(console, Text(text, "dim"))
        rows = [
            [_Cell(row.column), *(_Cell(str(n)) for n in (row.higher, row.lower, row.equal))]
            for row in one.rows
        ]
        _print(console, Text())
        _print_columns(console, ["Score, row by row", "Higher", "Lower", "Equal"], rows)
        _print_flips(console, one.flips, flips, short)


def comparison_text(comparison: Comparison) -> str:
    """Return what `print_comparison` prints, without colors, for lines of 100 characters."""
    from rich.console import Console

    text = io.StringIO()
    print_comparison(comparison, Console(file=text, width=100, color_system=None))
    return text.getvalue().rstrip()


def _print(console: Console, text: Text) -> None:
    # Nothing in a text is markup. What is wrapped or cropped cannot be copied.
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _line(text: str) -> str:
    """Return a text of the data in one line, without what a terminal would execute."""
    return escape_control(" ".join(text.split()))


def _id(request_id: str) -> str:
    """Return the id of a record, of which the first characters are enough if it is a hash."""
    text = _line(request_id)
    return text if len(text) <= _MAX_ID else f"{text[:12]}…"


def _metric_cells(metric: MetricSummary) -> Iterator[_Cell]:
    if metric.is_count:
        yield from (_Cell(f"{metric.value:.0f}"), _Cell(""), _Cell(f"of {metric.total}"))
        return
    interval = metric.interval
    yield _Cell(number_text(metric.value), "bold")
    yield _Cell(
        "" if interval is None else f"[{number_text(interval.low)}, {number_text(interval.high)}]"
    )
    yield _Cell(f"{metric.n} of {metric.total}", "yellow" if metric.n < metric.total else "")
    if metric.failures_as_zero not in (None, metric.value):
        yield _Cell(number_text(metric.failures_as_zero or 0.0), "yellow")


def _difference_cells(metric: MetricDifference) -> list[_Cell]:
    cells = [_Cell(_line(metric.name)), *map(_Cell, difference_texts(metric))]
    style = {True: "green", False: "red", None: ""}[metric.is_better]
    cells[3] = cells[3]._replace(style=style)
    return cells


def _print_columns(
    console: Console,
    titles: Sequence[str],
    rows: Iterable[Sequence[_Cell]],
    short: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Print names and numbers in columns.

    A name that is wrapped or cropped cannot be found. Where a line exceeds the width, the names are
    replaced by short ones; where it still does, they have lines of their own.
    """
    from rich.text import Text

    head = [_Cell(title, "dim") for title in titles]
    table = [head, *([*row, *[_Cell("")] * (len(titles) - len(row))] for row in rows)]
    widths = [max(len(row[column].text) for row in table) for column in range(len(titles))]
    numbers_width = sum(widths[1:]) + 2 * len(widths[1:])
    names = [row[0].text for row in table]
    shortened = [short.get(name, name) for name in names]
    if widths[0] + numbers_width > console.width >= max(map(len, shortened)) + numbers_width:
        names = shortened
    name_width = max(map(len, names))
    is_narrow = name_width + numbers_width > console.width
    for name, row in zip(names, table, strict=True):
        line = Text(name, row[0].style)
        if is_narrow:
            _print(console, line)
            line = Text()
        else:
            line.pad_right(name_width - len(name))
        for cell, width in zip(row[1:], widths[1:], strict=True):
            line.append(f"  {cell.text:>{width}}", cell.style)
        line.rstrip()
        _print(console, line)
        if row is head:
            used = numbers_width + (0 if is_narrow else name_width)
            _print(console, Text("─" * min(used, console.width), "dim"))


def _row_title(row: Row) -> Text:
    from rich.text import Text

    detail = describe_row(row)
    mark, style, verdict = VERDICT_TEXTS[detail["verdict"]]
    title = Text.assemble((f"{mark} ", style), (_id(row.record.request_id), "bold"))
    if row.repetition > 1:
        title.append(f", repetition {row.repetition}")
    title.append(f"  {verdict}", style)
    if detail["cause"]:
        title.append(f", root cause: {_line(detail['cause'])}", style)
    return title


def _row_table(row: Row, width: int) -> Table:
    from rich.table import Table
    from rich.text import Text

    detail = describe_row(row)
    lines = {"Request": detail["question"]}
    if detail["error"] is not None:
        lines["Error"] = detail["error"]
    else:
        lines["Answer"] = detail["answer"] or "(empty)"
    facts = detail["expectations"].get("expected_facts")
    lines["Expected"] = detail["expected"] or (", ".join(map(str, facts)) if facts else "(none)")
    if scores := [_score(one) for one in detail["ratings"] if _is_score(one)]:
        lines["Scores"] = ", ".join(scores)
    if detail["cause_rationale"]:
        lines["Because"] = detail["cause_rationale"]
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    longest = _MAX_LINES * max(width - 16, 20)
    for name, text in lines.items():
        # The first characters only: a text may have megabytes.
        # What an error is about follows the address that failed.
        limit = 2 * longest if name == "Error" else longest
        short = _line(text[: 4 * limit])
        cut = f"{short[: limit - 1]}…" if len(short) > limit else short
        table.add_row(f"  {name}", Text(cut))
    return table


def _is_score(rating: RatingDetail) -> bool:
    # The overall assessment is the verdict in the title of the row.
    return rating["value"] is not None and not rating["column"].startswith(OVERALL_ASSESSMENT)


def _score(rating: RatingDetail) -> str:
    value = rating["value"]
    if isinstance(value, bool | str) or value is None:
        return f"{rating['name']} {value}"
    return f"{rating['name']} {number_text(value)}"


def _print_flips(
    console: Console, flips: Sequence[Flip], most: int, short: Mapping[str, str]
) -> None:
    """Print the rows whose pass or fail changed in some metric, those that are worse first."""
    from rich.text import Text

    rows = flipped_rows(flips)
    if not rows:
        _print(console, Text("\nNo row changed between pass and fail."))
        return
    worse = sum(not passed for passed, *_ in rows)
    title = Text("\nRows that changed between pass and fail: ", "bold")
    _print(console, title.append(f"{worse} worse, {len(rows) - worse} better", "not bold"))
    for passed, row_id, of_row in rows[:most]:
        mark, style = ("✕ → ✓", "green") if passed else ("✓ → ✕", "red")
        flip = of_row[0]
        cause = flip.root_cause_before if passed else flip.root_cause_after
        line = Text.assemble((mark, style), "  ", (_id(row_id.request_id), "bold"))
        if row_id.repetition > 1:
            line.append(f", repetition {row_id.repetition}")
        if cause:
            line.append(f"  {'was' if passed else 'now'}: {_line(cause[:200])}", style)
        names = ", ".join(_line(short[flip.metric]) for flip in of_row)
        line.append(f"  {names}", "dim")
        line.truncate(console.width, overflow="ellipsis")
        _print(console, line)
    if len(rows) > most:
        _print(console, Text(f"… {len(rows) - most} more: .flips", "dim"))
