"""Rows to records, one by one: an invalid row is one error and does not affect the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from langchain_dbx_eval.datasets.record import EvalRecord, check_record, describe_value
from langchain_dbx_eval.datasets.schema.mlflow_codec import from_frame
from langchain_dbx_eval.datasets.schema.trace_codec import complete_from_trace, is_trace
from langchain_dbx_eval.errors import DatabricksError, SchemaError

__all__ = [
    "InvalidRow",
    "check_columns",
    "decode_rows",
    "parse_rows",
    "validate_rows",
]

_MAX_REPORTED = 10


@dataclass(frozen=True, slots=True)
class InvalidRow:
    """A row that is not a valid record.

    Attributes:
        index: Its index among all rows of the source, from 0.
        row: The row as the source returned it; None if it could not be read.
        error: The error, whose text names the row, the column and the expected type.
    """

    index: int
    row: Any
    error: SchemaError

    def to_record(self) -> EvalRecord:
        """Return a record that stands for the row in results.

        Returns:
            A record with the row's request, or else the whole row as its request; its response and
            expectations are left out.
        """
        if self.row is None:
            return EvalRecord(request=f"Row {self.index}")
        if isinstance(self.row, EvalRecord):
            return EvalRecord(request=describe_value(self.row.request))
        row = self.row if isinstance(self.row, Mapping) else {}
        requests = (row.get(name) for name in ("request", "inputs"))
        request = next((value for value in requests if value is not None), self.row)
        try:
            return EvalRecord.from_row({"request": request, "request_id": row.get("request_id")})
        except Exception:
            # The same values, which made other code fail.
            return EvalRecord(request=describe_value(self.row))


def parse_rows(rows: Iterable[Any]) -> Iterator[EvalRecord | InvalidRow]:
    """Parse rows into records.

    Args:
        rows: Mappings by column, or MLflow traces. Records and invalid rows are yielded unchanged;
            a `SchemaError` is that of a row that could not be read.

    Yields:
        For each row its record, or the row with the reason why it is invalid.
    """
    for index, row in enumerate(rows):
        if isinstance(row, InvalidRow):
            yield row
            continue
        if isinstance(row, SchemaError):
            yield InvalidRow(index, None, row)
            continue
        try:
            record = _parse_row(row, index)
        except SchemaError as error:
            yield InvalidRow(index, row, error)
        except DatabricksError:
            # Not of the row: an extra is not installed.
            raise
        except Exception as error:
            yield InvalidRow(index, row, _row_error(error, index))
        else:
            yield record


def decode_rows(
    rows: Iterable[Any], decode: Callable[[Any], Mapping[str, Any]]
) -> Iterator[Mapping[str, Any] | SchemaError]:
    """Decode the rows of a store.

    Args:
        rows: The rows as the store returns them, or the `SchemaError`s of rows that it cannot read.
        decode: Returns the values of a row for `EvalRecord.from_row`.

    Yields:
        For each row its values, or the error of a row that cannot be decoded: somebody may have
        written it by hand.
    """
    for index, row in enumerate(rows):
        decoded: Mapping[str, Any] | SchemaError
        try:
            decoded = row if isinstance(row, SchemaError) else decode(row)
        except Exception as error:
            decoded = _row_error(error, index)
        yield decoded


def check_columns(names: Iterable[Any], source: str) -> None:
    """Raise if two columns have the same name: all but one of them would be lost.

    Args:
        names: The names of the columns.
        source: The file or frame, as a phrase for the message.

    Raises:
        SchemaError: A name appears twice.
    """
    texts = [str(name) for name in names]
    if len(set(texts)) == len(texts):
        return
    twice = next(text for text in texts if texts.count(text) > 1)
    label = f"the name {twice!r}" if twice else "no name"
    msg = f"{source}: more than one column has {label}. Rename or delete the others."
    raise SchemaError(msg)


def _row_error(error: Exception, index: int) -> SchemaError:
    """Return the error of a row whose values made other code fail, whatever they are."""
    if isinstance(error, SchemaError):
        return error
    try:
        reason = f"{type(error).__name__}: {error}"[:300]
    except Exception:  # of a __str__
        reason = type(error).__name__
    found = SchemaError(f"Row {index} cannot be read ({reason}).")
    found.__cause__ = error
    return found


def _parse_row(row: Any, index: int) -> EvalRecord:
    if isinstance(row, EvalRecord):
        check_record(row, index)
        return row
    if is_trace(row):
        row = {"trace": row}
    if not isinstance(row, Mapping):
        msg = f"Row {index}: expected a dict of columns, got {describe_value(row)}."
        raise SchemaError(msg)
    return EvalRecord.from_row(complete_from_trace(from_frame(row), index), index)


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
        if isinstance(row, InvalidRow):
            errors.append(row.error)
        elif not errors:
            yield row
    if errors:
        more = f"\n… and {len(errors) - _MAX_REPORTED} more." if len(errors) > _MAX_REPORTED else ""
        raise SchemaError("\n".join(map(str, errors[:_MAX_REPORTED])) + more)
