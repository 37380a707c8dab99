"""Rows as JSON lines, CSV and Parquet."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any

from langchain_dbx_eval._internal.imports import require
from langchain_dbx_eval._internal.log import escape_control
from langchain_dbx_eval._internal.paths import create_private_file
from langchain_dbx_eval.cli.output import plain
from langchain_dbx_eval.errors import AlreadyExistsError, ConfigurationError

__all__ = ["FORMATS", "check_absent", "csv_text", "format_of", "write_rows"]

FORMATS = ("jsonl", "csv", "parquet")

Rows = Callable[[], Iterable[Mapping[str, Any]]]
"""Returns the rows; called twice for CSV and Parquet, whose columns are those of all rows."""

# OWASP, "CSV Injection": a cell that begins so is a formula in a spreadsheet; the wide forms are
# those of Japanese and Chinese input.
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # noqa: RUF001
_INT64 = range(-(2**63), 2**63)
_COLUMN_TYPES = {frozenset({bool}): "bool_", frozenset({int}): "int64", frozenset({str}): "string"}
_NUMBERS = (frozenset({float}), frozenset({int, float}))
_PAGE = 1_000


def format_of(output: Path | None, name: str | None, supported: Iterable[str] = FORMATS) -> str:
    """Return the format of a file: `name`, else that of its suffix, else JSON lines.

    Raises:
        ConfigurationError: The format is not supported.
    """
    suffixes = {"ndjson": "jsonl", "xml": "junit"}
    suffix = output.suffix.lower().removeprefix(".") if output is not None else ""
    chosen = name or suffixes.get(suffix, suffix) or "jsonl"
    if chosen not in supported:
        msg = f"The format {chosen!r} is not supported. Use --format {', '.join(supported)}."
        raise ConfigurationError(msg)
    return chosen


def check_absent(path: Path, *, force: bool) -> None:
    """Reject a file that exists, and create its folder.

    Raises:
        AlreadyExistsError: The file exists, and `force` is not set.
    """
    if path.exists() and not force:
        msg = f"The file {path} already exists. Choose another one, or overwrite it with --force."
        raise AlreadyExistsError(msg)
    path.parent.mkdir(parents=True, exist_ok=True)


def write_rows(rows: Rows, output: Path | None, format_: str, *, force: bool = False) -> int:
    """Write rows to a file, or to standard output.

    Args:
        rows: Returns the rows.
        output: The file, readable by its user only; None: standard output.
        format_: One of `FORMATS`.
        force: Whether to overwrite the file.

    Returns:
        The number of rows.

    Raises:
        AlreadyExistsError: The file exists.
        ConfigurationError: Parquet has no form for a terminal.
    """
    if output is None:
        if format_ == "parquet":
            raise ConfigurationError("Parquet needs a file: add --output FILE.")
        return _WRITERS[format_](rows, sys.stdout)
    check_absent(output, force=force)
    unfinished = output.with_name(f".{output.name}.partial")
    try:
        create_private_file(unfinished)
        if format_ == "parquet":
            count = _write_parquet(rows, unfinished)
        else:
            with unfinished.open("w", encoding="utf-8", errors="replace", newline="") as file:
                count = _WRITERS[format_](rows, file)
        unfinished.replace(output)
    finally:
        unfinished.unlink(missing_ok=True)
    return count


def csv_text(value: Any) -> Any:
    """Return a value as a cell of CSV that no spreadsheet takes for a formula.

    A text that begins like a formula gets an apostrophe, which spreadsheets do not show. Numbers
    stay numbers. NUL, which readers of CSV reject, becomes U+FFFD.
    """
    if value is None or isinstance(value, bool | int | float):
        return "" if value is None or value != value else value
    text = value if isinstance(value, str) else json.dumps(plain(value), ensure_ascii=False)
    text = text.replace("\0", "\ufffd")
    is_formula = text.lstrip().startswith(_FORMULA) or text.startswith(("\t", "\r", "\n"))
    return f"'{text}" if is_formula else text


def _write_jsonl(rows: Rows, file: IO[str]) -> int:
    # In ASCII on a terminal, which an answer of a model must not command.
    is_terminal = file.isatty()
    count = 0
    for row in rows():
        count += 1
        file.write(json.dumps(plain(row), ensure_ascii=is_terminal) + "\n")
    return count


def _write_csv(rows: Rows, file: IO[str]) -> int:
    names = _columns(rows)
    writer = csv.writer(file, lineterminator="\r\n")  # RFC 4180
    writer.writerow(map(csv_text, names))
    count = 0
    for row in rows():
        count += 1
        cells = [csv_text(row.get(name)) for name in names]
        if file.isatty():
            cells = [escape_control(cell) if isinstance(cell, str) else cell for cell in cells]
        writer.writerow(cells)
    return count


def _columns(rows: Rows) -> dict[str, set[type]]:
    """Return the types of the values of each column."""
    columns: dict[str, set[type]] = {}
    for row in rows():
        for name, value in row.items():
            types = columns.setdefault(name, set())
            if value is not None:
                # A larger integer is stored as text, as a value of no common type is.
                is_large = isinstance(value, int) and value not in _INT64
                types.add(object if is_large else type(value))
    return columns


def _write_parquet(rows: Rows, path: Path) -> int:
    """Write a file whose columns have one type each; a column of several types is JSON text."""
    pyarrow = require("pyarrow", extra="delta")
    import pyarrow.parquet as pq

    columns = {name: _column_type(types) for name, types in _columns(rows).items()}
    schema = pyarrow.schema([(name, getattr(pyarrow, t)()) for name, t in columns.items()])
    count, page = 0, list[dict[str, Any]]()
    with pq.ParquetWriter(path, schema) as writer:

        def flush() -> None:
            writer.write_table(pyarrow.Table.from_pylist(page, schema=schema))
            page.clear()

        for row in rows():
            count += 1
            page.append({n: _parquet_value(row.get(n), types) for n, types in columns.items()})
            if len(page) == _PAGE:
                flush()
        flush()
    return count


def _column_type(types: set[type]) -> str:
    if frozenset(types) in _NUMBERS:
        return "float64"
    return _COLUMN_TYPES.get(frozenset(types), "large_string")


def _parquet_value(value: Any, column_type: str) -> Any:
    if value is None or column_type in ("bool_", "int64"):
        return value
    if column_type == "float64":
        return float(value)
    text = value if isinstance(value, str) else json.dumps(plain(value), ensure_ascii=False)
    return text.encode(errors="replace").decode()  # Parquet has no lone surrogates


_WRITERS: dict[str, Callable[[Rows, IO[str]], int]] = {"jsonl": _write_jsonl, "csv": _write_csv}
