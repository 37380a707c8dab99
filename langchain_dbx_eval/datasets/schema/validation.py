"""From rows to records, one by one: a bad row is an error of its own and loses no other."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from langchain_dbx_eval.datasets.record import EvalRecord
from langchain_dbx_eval.errors import SchemaError

__all__ = ["checked", "numbered"]

# Columns that hold no plain text: a text there, as from CSV, can only be JSON.
_STRUCTURED = (
    "inputs",
    "expectations",
    "expected_facts",
    "guidelines",
    "expected_retrieved_context",
    "retrieved_context",
    "metadata",
)


def numbered(rows: Iterable[Any]) -> Iterator[EvalRecord | SchemaError]:
    """Each row as a record, or as the error that says what is wrong with it."""
    for number, row in enumerate(rows):
        if isinstance(row, EvalRecord | SchemaError):
            yield row
            continue
        if not isinstance(row, Mapping):
            kind = type(row).__name__
            yield SchemaError(f"Row {number}: expected a dict of columns, not {kind}.")
            continue
        try:
            yield EvalRecord.from_row(_with_json_read(row), number)
        except SchemaError as error:
            yield error


def checked(rows: Iterable[Any]) -> Iterator[EvalRecord]:
    """All rows as records, one by one; whoever writes them must have read them all before.

    Raises:
        SchemaError: At the end, where a row is no record: all such are told, up to ten.
    """
    errors: list[SchemaError] = []
    for row in numbered(rows):
        if isinstance(row, SchemaError):
            errors.append(row)
        elif not errors:
            yield row
    if errors:
        more = f"\n… and {len(errors) - 10} more." if len(errors) > 10 else ""
        raise SchemaError("\n".join(map(str, errors[:10])) + more)


def _with_json_read(row: Mapping[str, Any]) -> Mapping[str, Any]:
    texts = [name for name in _STRUCTURED if isinstance(row.get(name), str)]
    if not texts:
        return row
    return {**row, **{name: _from_json(row[name]) for name in texts}}


def _from_json(text: str) -> Any:
    if not text.lstrip().startswith(("{", "[")):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text
