"""Reports of evaluations: tables in the terminal, and an HTML page without external resources."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from langchain_dbx_eval._internal.extras import require
from langchain_dbx_eval._internal.paths import create_private_file
from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.evaluation import EvaluationResult
from langchain_dbx_eval.evaluation.journal.rows import Row
from langchain_dbx_eval.evaluation.tracking.runs import log_file
from langchain_dbx_eval.reporting.comparison import Comparison, MetricDifference, compare
from langchain_dbx_eval.reporting.html import Redaction, render_report
from langchain_dbx_eval.scoring.answer_text import answer_text

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["print_comparison", "print_result", "worst_rows", "write_report"]

_MAX_BASELINES = 3


def print_result(result: EvaluationResult, console: Console, *, worst: int = 3) -> None:
    """Print the metrics and the worst rows of an evaluation.

    Args:
        result: The evaluation.
        console: The console to print to.
        worst: The maximum number of rows to print.

    Raises:
        MissingDependencyError: The extra ``eval`` is not installed.
    """
    require("rich", extra="eval")
    from rich.markup import escape
    from rich.table import Table

    summary = result.summary
    style = "bold red" if summary.warning else "bold"
    console.print(str(result), style=style, markup=False, highlight=False, soft_wrap=True)
    lines = [("Metric", "Value [95 % interval], rows")]
    for name, value, zero in summary.lines():
        lines.append((name, f"{value} ({zero} with failures as 0)" if zero else value))
    width, value_width = (max(map(len, column)) for column in zip(*lines, strict=True))
    # A name that is wrapped cannot be found: it has a line of its own in a narrow terminal.
    is_narrow = width + 2 + value_width > console.width
    form = "{}\n    {}" if is_narrow else f"{{:<{width}}}  {{}}"
    text = "\n".join(form.format(*line) for line in lines)
    for part in (text, *summary.notes()):
        console.print(part, markup=False, highlight=False, soft_wrap=True)

    table = Table("", "Question", "Answer", "Expected", title_justify="left", show_lines=True)
    rows = worst_rows(result)[:worst]
    table.title = f"The {len(rows)} worst rows"
    for row in rows:
        answer = row.outcome.error or _answer_text(row)
        expected = row.record.expected_response or "(none)"
        question = answer_text(row.record.request) or ""
        table.add_row(row.record.request_id[:8], *map(escape, (question, answer, expected)))
    console.print(table)


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print the differences between two evaluations.

    Each metric has its full name, on a line of its own where the terminal is too narrow for a line
    with its numbers.

    Args:
        comparison: The result of `compare`.
        console: The console to print to.
    """
    title = f"Comparison with the baseline, {comparison.paired} rows in common"
    if comparison.only_baseline or comparison.only_candidate:
        title += (
            f", {len(comparison.only_baseline)} only in the baseline, "
            f"{len(comparison.only_candidate)} only in this run"
        )
    titles = ["Metric", "Baseline", "This run", "Difference", "95 % interval", "p (Holm)", "Pairs"]
    lines = [title, ""]
    lines += _table(titles, map(_metric_cells, comparison.metrics), console.width)
    if any(metric.is_significant for metric in comparison.metrics):
        lines.append("* significant: p below 0.05, corrected for the number of metrics")
    rows = [[row.column, *map(str, (row.higher, row.lower, row.equal))] for row in comparison.rows]
    lines += ["", *_table(["Score, row by row", "Higher", "Lower", "Equal"], rows, console.width)]
    # A name that is wrapped or cropped cannot be found. Nothing in it is markup.
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def _metric_cells(metric: MetricDifference) -> list[str]:
    numbers = (metric.baseline, metric.candidate)
    cells = [metric.name, *("-" if number is None else f"{number:.4g}" for number in numbers)]
    cells.append("-" if metric.difference is None else f"{metric.difference:+.3g}")
    interval, p_value = metric.interval, metric.p_adjusted
    cells.append("-" if interval is None else f"[{interval.low:+.3g}, {interval.high:+.3g}]")
    cells.append("-" if p_value is None else _p_value_text(p_value) + "*" * metric.is_significant)
    total = metric.pairs + metric.only_baseline + metric.only_candidate
    return [*cells, f"{metric.pairs} of {total}" if total else "-"]


def _table(titles: list[str], rows: Iterable[list[str]], width: int) -> list[str]:
    """Align rows in columns; the first one has lines of its own if the lines exceed the width."""
    table = [titles, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for name, *cells in table:
        aligned = zip(cells, widths[1:], strict=True)
        numbers = "".join(f"  {cell:>{cell_width}}" for cell, cell_width in aligned)
        is_narrow = widths[0] + len(numbers) > width
        lines += [name, numbers] if is_narrow else [f"{name:<{widths[0]}}{numbers}"]
    return lines


def write_report(
    result: EvaluationResult,
    path: Path,
    *,
    comparison: Comparison | None = None,
    baselines: Sequence[EvaluationResult] = (),
    redact: Iterable[Redaction] = (),
    log_artifact: bool = False,
) -> Path:
    """Write an evaluation as an HTML page: one file that loads nothing from the network.

    Args:
        result: The evaluation; of one on Spark, the page shows the rows of its `sample`.
        path: The file to write; its parent folders are created.
        comparison: The comparison with the baselines to show; default: that of `compare`. Without
            `baselines`, the page shows the differences, and not the rows of the baseline.
        baselines: Up to three other evaluations, whose rows are shown beside those of the result.
        redact: Texts, and patterns of ``re.compile``, that the page must not contain.
        log_artifact: Whether the page is also logged as an artifact of the result's MLflow run.

    Returns:
        `path`.

    Raises:
        ConfigurationError: There are more than three baselines, one has no row in common with the
            result, `redact` contains something else, or the result has no MLflow run to log to.
        TrackingError: MLflow cannot be reached.
        MissingDependencyError: The extra ``eval`` is not installed.
    """
    if len(baselines) > _MAX_BASELINES:
        msg = f"'baselines' may contain {_MAX_BASELINES} evaluations, got {len(baselines)}."
        raise ConfigurationError(msg)
    if comparison is not None and baselines and len(comparison.others) + 1 != len(baselines):
        msg = (
            f"'comparison' is with {len(comparison.others) + 1} evaluations, and 'baselines' "
            f"contains {len(baselines)}. Omit 'comparison', or pass the same evaluations."
        )
        raise ConfigurationError(msg)
    if log_artifact and result.run_id is None:
        msg = f"{result.evaluation_id} has no MLflow run: omit log_artifact, or run sync first."
        raise ConfigurationError(msg)
    if comparison is None and baselines:
        comparison = compare(result, *baselines)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = render_report(result.sample, baselines=baselines, comparison=comparison, redact=redact)
    # The rows are read while the file is written: an error must not leave half a page.
    unfinished = path.with_name(f"{path.name}.new")
    try:
        create_private_file(unfinished)  # It contains requests and answers.
        with unfinished.open("w", encoding="utf-8") as file:
            file.writelines(parts)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    if log_artifact:
        log_file(result.manifest, path)
    return path


def _answer_text(row: Row) -> str:
    return "(empty)" if row.outcome.is_empty else answer_text(row.outcome.response) or ""


def worst_rows(result: EvaluationResult) -> list[Row]:
    """Sort the rows: failed ones first, then empty answers, then by ascending mean score.

    A row without a score counts as one with a mean score of 1.
    """

    def key(row: Row) -> tuple[bool, bool, float, int]:
        scores = [a.number for a in row.assessments if a.number is not None]
        mean = sum(scores) / len(scores) if scores else 1.0
        return row.outcome.error is None, not row.outcome.is_empty, mean, row.number

    return sorted(result.sample.rows, key=key)


def _p_value_text(p_value: float) -> str:
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"
