"""JSON, tables and texts on the terminal."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any, TextIO

from langchain_dbx_eval._internal.log import escape_control

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["cell", "console", "error_line", "plain", "print_json", "print_table", "print_text"]

_MAX_CELL = 2_000


def print_text(text: str) -> None:
    """Print a text of several lines; what would command the terminal is escaped."""
    _write(sys.stdout, "\n".join(escape_control(line) for line in text.split("\n")))


def error_line(text: str) -> None:
    """Print a text to standard error."""
    _write(sys.stderr, "\n".join(escape_control(line) for line in text.split("\n")))


def print_json(value: Any) -> None:
    """Print a value as JSON in ASCII, which every terminal and every reader of JSON accepts."""
    _write(sys.stdout, json.dumps(plain(value), indent=2))


def plain(value: Any) -> Any:
    """Convert a value to what JSON has; NaN and infinity are null, an unknown object is text."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, bytes | bytearray):
        return [plain(item) for item in value]
    return value.isoformat() if isinstance(value, date) else str(value)


def cell(value: Any) -> str:
    """Return a value as one line that cannot command the terminal or reverse the line."""
    if value is None:
        return "-"
    text = value if isinstance(value, str) else json.dumps(plain(value), ensure_ascii=False)
    text = " ".join(text.split())
    if len(text) > _MAX_CELL:
        text = f"{text[:_MAX_CELL]} … ({len(text) - _MAX_CELL:,} more characters)"
    return escape_control(text)


def console() -> Console:
    """Return the console of standard output."""
    from langchain_dbx_eval._internal.imports import require

    require("rich", extra="eval")
    from rich.console import Console

    return Console(file=sys.stdout)


def print_table(titles: Sequence[str], rows: Iterable[Sequence[Any]], *, whole: int = 0) -> None:
    """Print rows below titles.

    In a terminal, cells wrap so that the table fits. Elsewhere each row is one line with all of its
    text, for `grep` and `awk`.

    Args:
        titles: The titles of the columns.
        rows: The values of each row.
        whole: Index of the column that is never wrapped, because it is copied.
    """
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    lines = [[cell(value) for value in row] for row in rows]
    terminal = console()
    if terminal.is_terminal:
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
        for index, title in enumerate(titles):
            table.add_column(title, overflow="fold", no_wrap=index == whole)
        for line in lines:
            table.add_row(*map(Text, line))
        terminal.print(table)
        return
    widths = [max(map(cell_len, column)) for column in zip(titles, *lines, strict=True)]
    for line in [list(titles), *lines]:
        padded = (
            text + " " * (width - cell_len(text)) for text, width in zip(line, widths, strict=True)
        )
        _write(sys.stdout, "  ".join(padded).rstrip())


def _write(stream: TextIO, text: str) -> None:
    # Not `typer.echo`, which writes past the progress bar of rich.
    stream.write(f"{text}\n")
