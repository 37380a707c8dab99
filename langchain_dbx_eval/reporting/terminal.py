"""Tables for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_dbx_eval._internal.extras import require
from langchain_dbx_eval.evaluation import EvaluationResult
from langchain_dbx_eval.reporting.comparison import Comparison
from langchain_dbx_eval.reporting.worst_rows import worst_rows
from langchain_dbx_eval.scoring.answer_text import answer_text

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["print_comparison", "print_result"]


def print_result(result: EvaluationResult, console: Console, *, worst: int = 3) -> None:
    """Print an evaluation: its metrics, and the rows that did worst.

    Args:
        result: The evaluation.
        console: Where to print.
        worst: How many of the worst rows to show.
    """
    require("rich", extra="eval")
    from rich.table import Table

    table = Table("Metric", "Value", title=str(result), title_justify="left")
    table.columns[1].justify = "right"
    for name, value in sorted(result.metrics.items()):
        table.add_row(name, f"{value:.4g}")
    console.print(table)
    console.print(_worst_table(result, worst))


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print what changed between two evaluations.

    Args:
        comparison: Of `langchain_dbx_eval.compare`.
        console: Where to print.
    """
    require("rich", extra="eval")
    from rich.table import Table

    metrics = Table("Metric", "Baseline", "This run", "Difference", title_justify="left")
    metrics.title = f"Compared with the baseline, {comparison.paired} rows in common"
    for metric in comparison.metrics:
        numbers = (metric.baseline, metric.candidate)
        shown = ["-" if number is None else f"{number:.4g}" for number in numbers]
        change = "-" if metric.difference is None else f"{metric.difference:+.4g}"
        metrics.add_row(metric.name, *shown, change)
    rows = Table("Score, row by row", "Higher", "Lower", "Equal")
    for row in comparison.rows:
        rows.add_row(row.column, str(row.higher), str(row.lower), str(row.equal))
    for table in (metrics, rows):
        # A cut name names nothing.
        table.columns[0].overflow = "fold"
        for column in table.columns[1:]:
            column.justify = "right"
        console.print(table)


def _worst_table(result: EvaluationResult, count: int) -> object:
    from rich.markup import escape
    from rich.table import Table

    table = Table("", "Question", "Answer", "Expected", title_justify="left", show_lines=True)
    rows = worst_rows(result, count)
    table.title = f"The {len(rows)} worst rows"
    for row in rows:
        answer = row.outcome.error or answer_text(row.outcome.response) or "(nothing)"
        expected = row.record.expected_response or "(not told)"
        question = answer_text(row.record.request) or ""
        table.add_row(row.record.request_id[:8], *map(escape, (question, answer, expected)))
    return table
