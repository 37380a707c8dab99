"""How a record lies in a table: the one schema that we create, and the way there and back.

Inputs, outputs, expectations and the rest are JSON texts, as in Databricks' own evaluation
datasets ("Evaluation dataset reference"): any JSON survives, whatever other rows have, and a
column never changes its type.
"""

from __future__ import annotations

import getpass
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from langchain_dbx_eval.datasets.record import EvalRecord, record_key
from langchain_dbx_eval.errors import SchemaError

__all__ = [
    "COLUMNS",
    "CONTENT",
    "JSON_COLUMNS",
    "KEY",
    "Fingerprint",
    "by_key",
    "contents",
    "decode",
    "encode",
    "encode_all",
    "encode_each",
    "fingerprint_of",
    "merge_rows",
    "user_name",
]

KEY = "dataset_record_id"
JSON_COLUMNS = ("inputs", "outputs", "expectations", "retrieved_context", "trace", "metadata")
CONTENT = ("request_id", *JSON_COLUMNS)
_STAMPS = ("last_update_time", "last_updated_by")
# Name and SQL type of each column; the JSON columns are text.
COLUMNS: dict[str, str] = {
    KEY: "STRING",
    "request_id": "STRING",
    **dict.fromkeys(JSON_COLUMNS, "STRING"),
    "create_time": "TIMESTAMP",
    "created_by": "STRING",
    "last_update_time": "TIMESTAMP",
    "last_updated_by": "STRING",
}

Row = dict[str, Any]


def encode(record: EvalRecord, number: int = 0) -> Row:
    """A record's content as the texts of a row.

    Args:
        record: The record.
        number: Its place, for messages; the first is 0.

    Returns:
        The key, the request id, and a JSON text or None for each of `JSON_COLUMNS`.

    Raises:
        SchemaError: A value would not come back from JSON as it is.
    """
    trace = record.trace.to_dict() if hasattr(record.trace, "to_dict") else record.trace
    values = {
        "inputs": record.inputs,
        "outputs": record.response,
        "expectations": record.expectations or None,
        "retrieved_context": record.retrieved_context,
        "trace": trace,
        "metadata": record.metadata or None,
    }
    row: Row = {KEY: "", "request_id": record.request_id}
    for name, value in values.items():
        if value is None:
            row[name] = None
        else:
            row[name] = _to_json(value, f"Record {number}, column {name!r}")
    row[KEY] = _key_of(record, row["inputs"])
    try:
        row["request_id"].encode()
    except UnicodeEncodeError as error:
        msg = f"Record {number}, column 'request_id': half a character is no text ({error})."
        raise SchemaError(msg) from error
    return row


def encode_each(records: Iterable[EvalRecord]) -> Iterator[Row]:
    """Many records as rows, one by one.

    The rows carry who made them and when: a microsecond apart, which keeps their order.

    Raises:
        SchemaError: See `encode`.
    """
    now, user = datetime.now(timezone.utc), user_name()
    for number, record in enumerate(records):
        moment = now + timedelta(microseconds=number)
        row = encode(record, number)
        row["create_time"] = row["last_update_time"] = moment
        row["created_by"] = row["last_updated_by"] = user
        yield row


def by_key(rows: Iterable[Row]) -> dict[str, Row]:
    """Rows by key; those with the same inputs are merged into one."""
    merged: dict[str, Row] = {}
    for row in rows:
        before = merged.get(row[KEY])
        merged[row[KEY]] = row if before is None else merge_rows(before, row)
    return merged


def encode_all(records: Iterable[EvalRecord]) -> dict[str, Row]:
    """`encode_each` and `by_key`."""
    return by_key(encode_each(records))


def decode(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a table with our schema, or with Databricks' own, as `EvalRecord.from_row` reads it.

    Bookkeeping is left out; JSON texts are read.
    """
    values = {name: row[name] for name in row.keys() - COLUMNS.keys() if row[name] is not None}
    values.pop("source", None)
    if row.get("request_id"):
        values["request_id"] = row["request_id"]
    for name in JSON_COLUMNS:
        if row.get(name) is not None:
            values[name] = _from_json(row[name])
    tags = values.pop("tags", None)
    if tags:
        metadata = values.get("metadata") or {}
        values["metadata"] = {**metadata, "tags": {**metadata.get("tags", {}), **dict(tags)}}
    return values


def merge_rows(before: Row, new: Row) -> Row:
    """The row after a merge; the very same object where the merge changes nothing.

    As MLflow's datasets do it: expectations and tags are added to, those of the same name
    replaced, and outputs are replaced when given (`mlflow.store.tracking.sqlalchemy_store`, 3.17).
    """
    after = dict(before)
    for name in ("outputs", "retrieved_context", "trace"):
        after[name] = new[name] if new[name] is not None else before[name]
    for name in ("expectations", "metadata"):
        if new[name] is None or new[name] == before[name]:
            continue
        old, more = json.loads(before[name] or "{}"), json.loads(new[name])
        both = {**old, **more}
        if isinstance(old.get("tags"), dict) and isinstance(more.get("tags"), dict):
            both["tags"] = {**old["tags"], **more["tags"]}
        after[name] = _dumps(both)
    if all(after[name] == before[name] for name in CONTENT):
        return before
    return {**after, **{name: new[name] for name in _STAMPS if name in new}}


def contents(row: Mapping[str, Any]) -> tuple[str | None, ...]:
    """What of a row is its content: no bookkeeping."""
    return tuple(row[name] for name in CONTENT)


@dataclass(slots=True)
class Fingerprint:
    """A digest that does not depend on the order: the sum of the rows' BLAKE2b, modulo 2^128.

    A sum, not an exclusive or, so that a row that is there twice does not vanish.
    """

    total: int = 0
    count: int = 0

    def add(self, content: tuple[str | None, ...]) -> None:
        """Take one row's `contents`."""
        text = json.dumps(content, ensure_ascii=False).encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(text, digest_size=16).digest()
        self.total = (self.total + int.from_bytes(digest, "big")) % (1 << 128)
        self.count += 1

    def hexdigest(self) -> str:
        """16 hexadecimal digits, of the sum and the number of rows."""
        text = f"{self.count}:{self.total:032x}".encode()
        return hashlib.blake2b(text, digest_size=8).hexdigest()


def fingerprint_of(records: Iterable[EvalRecord]) -> str:
    """The digest of records, in whatever order; what JSON cannot hold counts by its text."""
    fingerprint = Fingerprint()
    for content in _contents_of(records):
        fingerprint.add(content)
    return fingerprint.hexdigest()


def _contents_of(records: Iterable[EvalRecord]) -> Iterator[tuple[str | None, ...]]:
    for record in records:
        try:
            yield contents(encode(record))
        except SchemaError:
            yield (json.dumps(record.to_row(), sort_keys=True, default=str),)


def user_name() -> str:
    """Who is at work here, as the operating system knows them."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container's user need not have a name.
        return "unknown"


# As `json.dumps` with these arguments, which would make the encoder anew for each value.
_dumps = json.JSONEncoder(ensure_ascii=False, sort_keys=True, allow_nan=False).encode


def _key_of(record: EvalRecord, inputs: str) -> str:
    """The record's key; `inputs` is the very text that it is the hash of, where all is ASCII."""
    if inputs.isascii():
        return hashlib.sha256(inputs.encode()).hexdigest()
    return record_key(record.request)


def _to_json(value: Any, where: str) -> str:
    try:
        text = _dumps(value)
        text.encode()
        same = json.loads(text) == value
    except UnicodeEncodeError as error:
        msg = f"{where}: half a character is no text ({error.reason})."
        raise SchemaError(msg) from error
    except (TypeError, ValueError, RecursionError) as error:
        msg = (
            f"{where} holds something that JSON cannot: {error}. "
            "Give dates as text (isoformat()), and leave out what is not a number (NaN)."
        )
        raise SchemaError(msg) from error
    if not same:
        msg = (
            f"{where} would not come back from JSON as it is: it has a key that is no text, "
            "or a tuple. Use text keys and lists."
        )
        raise SchemaError(msg)
    return text


def _from_json(value: Any) -> Any:
    """A JSON text as what it says; a column that is no text, or no JSON, as it stands."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value
