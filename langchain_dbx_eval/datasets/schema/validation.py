"""Rows to records, one by one: an invalid row is one error and does not affect the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from langchain_dbx_eval.datasets.record import EvalRecord, describe_value
from langchain_dbx_eval.errors import SchemaError

__all__ = ["parse_rows", "validate_rows"]

_MAX_REPORTED = 10


def parse_rows(rows: Iterable[Any]) -> Iterator[EvalRecord | SchemaError]:
    """Parse rows into records.

    Args:
        rows: Mappings by column; records and errors are yielded unchanged.

    Yields:
        For each row its record, or the error that describes why it is invalid.
    """
    for index, row in enumerate(rows):
        if isinstance(row, EvalRecord | SchemaError):
            yield row
        elif not isinstance(row, Mapping):
            yield SchemaError(
                f"Row {index}: expected a dict of columns, got {describe_value(row)}."
            )
        else:
            try:
                record = EvalRecord.from_row(row, index)
            except SchemaError as error:
                yield error
            else:
                yield record


def validate_rows(rows: Iterable[Any]) -> Iterator[EvalRecord]:
    """Parse rows into records, all of which must be valid.

    The error is raised after the last row, so a consumer must read all records before it writes
    the first.

    Args:
        rows: As for `parse_rows`.

    Yields:
        The records.

    Raises:
        SchemaError: Rows are invalid; the message lists the first 10 errors.
    """
    errors: list[SchemaError] = []
    for row in parse_rows(rows):
        if isinstance(row, SchemaError):
            errors.append(row)
        elif not errors:
            yield row
    if errors:
        more = f"\n… and {len(errors) - _MAX_REPORTED} more." if len(errors) > _MAX_REPORTED else ""
        raise SchemaError("\n".join(map(str, errors[:_MAX_REPORTED])) + more)
