"""Records as rows of a table: encoding, decoding, merging, and the content digest.

Inputs, outputs, expectations and the other values are stored as JSON text, as in Databricks' own
evaluation datasets ("Evaluation dataset reference"): any JSON value can be stored in any row,
and the type of a column never changes.
"""

from __future__ import annotations

import getpass
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from langchain_dbx_eval.datasets.record import EvalRecord, parse_cell, record_key, trace_id_of
from langchain_dbx_eval.errors import SchemaError

__all__ = [
    "COLUMNS",
    "CONTENT_COLUMNS",
    "KEY",
    "ContentDigest",
    "Row",
    "content_of",
    "decode",
    "digest_of",
    "encode",
    "encode_all",
    "merge_by_key",
    "merge_rows",
    "stored_trace",
    "user_name",
]

KEY = "dataset_record_id"
_JSON_COLUMNS = ("inputs", "outputs", "expectations", "retrieved_context", "trace", "metadata")
CONTENT_COLUMNS = ("request_id", *_JSON_COLUMNS)
# SQL types by column; the JSON columns are text.
COLUMNS: dict[str, str] = {
    KEY: "STRING",
    "request_id": "STRING",
    **dict.fromkeys(_JSON_COLUMNS, "STRING"),
    "create_time": "TIMESTAMP",
    "created_by": "STRING",
    "last_update_time": "TIMESTAMP",
    "last_updated_by": "STRING",
}
_UPDATE_COLUMNS = ("last_update_time", "last_updated_by")

Row = dict[str, Any]


def encode(record: EvalRecord, index: int = 0) -> Row:
    """Encode a record's content as a row.

    Args:
        record: The record.
        index: The record's index, from 0, for error messages.

    Returns:
        The key, the request id, and JSON text or None for each other column of `CONTENT_COLUMNS`.

    Raises:
        SchemaError: A value cannot be restored from JSON unchanged.
    """
    trace = stored_trace(record)
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
            row[name] = _to_json(value, f"Record {index}, column {name!r}")
    row[KEY] = _key_of(record, row["inputs"])
    try:
        row["request_id"].encode()
    except UnicodeEncodeError as error:
        msg = f"Record {index}, column 'request_id': it contains a lone surrogate ({error})."
        raise SchemaError(msg) from error
    return row


def stored_trace(record: EvalRecord) -> Any:
    """Return the trace of a record as it is stored: JSON; None if the record has its ``trace_id``.

    Like MLflow's datasets, a table refers to a trace of MLflow by its id.
    """
    trace, id_ = record.trace, trace_id_of(record.trace)
    if id_ is not None and id_ == record.metadata.get("trace_id"):
        return None
    return trace.to_dict() if hasattr(trace, "to_dict") else trace


def encode_all(records: Iterable[EvalRecord]) -> Iterator[Row]:
    """Encode records as complete rows, one by one.

    The times of creation are 1 µs apart, which preserves the order of the records.

    Raises:
        SchemaError: See `encode`.
    """
    now, user = datetime.now(timezone.utc), user_name()
    for index, record in enumerate(records):
        row = encode(record, index)
        row["create_time"] = row["last_update_time"] = now + timedelta(microseconds=index)
        row["created_by"] = row["last_updated_by"] = user
        yield row


def decode(row: Mapping[str, Any]) -> dict[str, Any]:
    """Decode a row of a table with this package's schema, or with Databricks' schema.

    Returns:
        The values for `EvalRecord.from_row`, without times and users.
    """
    values = {name: row[name] for name in row.keys() - COLUMNS.keys() if row[name] is not None}
    values.pop("source", None)
    if row.get("request_id"):
        values["request_id"] = row["request_id"]
    for name in _JSON_COLUMNS:
        if row.get(name) is not None:
            values[name] = parse_cell(row[name])
    tags = values.pop("tags", None)
    if tags:
        metadata = values.get("metadata") or {}
        values["metadata"] = {**metadata, "tags": {**metadata.get("tags", {}), **dict(tags)}}
    return values


def merge_rows(old: Row, new: Row) -> Row:
    """Merge a row into an existing one with the same key.

    As in MLflow's datasets, expectations and tags are merged by name and the new value wins;
    outputs are replaced if given (`mlflow.store.tracking.sqlalchemy_store`, MLflow 3.17).

    Returns:
        The merged row; `old` itself, the same object, if nothing changes.
    """
    merged = dict(old)
    for name in ("outputs", "retrieved_context", "trace"):
        merged[name] = new[name] if new[name] is not None else old[name]
    for name in ("expectations", "metadata"):
        if new[name] is None or new[name] == old[name]:
            continue
        old_values, new_values = json.loads(old[name] or "{}"), json.loads(new[name])
        both = {**old_values, **new_values}
        if isinstance(old_values.get("tags"), dict) and isinstance(new_values.get("tags"), dict):
            both["tags"] = {**old_values["tags"], **new_values["tags"]}
        merged[name] = _dumps(both)
    if all(merged[name] == old[name] for name in CONTENT_COLUMNS):
        return old
    return {**merged, **{name: new[name] for name in _UPDATE_COLUMNS if name in new}}


def merge_by_key(rows: Iterable[Row]) -> dict[str, Row]:
    """Return rows by key, with rows of the same key merged."""
    merged: dict[str, Row] = {}
    for row in rows:
        old = merged.get(row[KEY])
        merged[row[KEY]] = row if old is None else merge_rows(old, row)
    return merged


def content_of(row: Mapping[str, Any]) -> tuple[str | None, ...]:
    """Return the content of a row: `CONTENT_COLUMNS`."""
    return tuple(row[name] for name in CONTENT_COLUMNS)


@dataclass(slots=True)
class ContentDigest:
    """A digest of rows in any order: the sum of their BLAKE2b hashes, modulo 2^128.

    A sum and not an exclusive or, in which a duplicate row would cancel itself out.
    """

    total: int = 0
    count: int = 0

    def add(self, content: tuple[str | None, ...]) -> None:
        """Add the `content_of` a row."""
        text = json.dumps(content, ensure_ascii=False).encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(text, digest_size=16).digest()
        self.total = (self.total + int.from_bytes(digest, "big")) % (1 << 128)
        self.count += 1

    def hexdigest(self) -> str:
        """Return a hash of the sum and of the number of rows: 16 hexadecimal digits."""
        text = f"{self.count}:{self.total:032x}".encode()
        return hashlib.blake2b(text, digest_size=8).hexdigest()


def digest_of(records: Iterable[EvalRecord]) -> str:
    """Return the `ContentDigest` of records; values that are not JSON count by their string."""
    digest = ContentDigest()
    for record in records:
        try:
            content = content_of(encode(record))
        except SchemaError:
            content = (json.dumps(record.to_row(), sort_keys=True, default=str),)
        digest.add(content)
    return digest.hexdigest()


def user_name() -> str:
    """Return the name of the operating system's user; ``"unknown"`` if it has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # In a container, the user id may have no name.
        return "unknown"


# `json.dumps` with these arguments would create an encoder for each value.
_dumps = json.JSONEncoder(ensure_ascii=False, sort_keys=True, allow_nan=False).encode


def _key_of(record: EvalRecord, inputs: str) -> str:
    # ASCII-only `inputs` are exactly the text that `record_key` hashes.
    if inputs.isascii():
        return hashlib.sha256(inputs.encode()).hexdigest()
    return record_key(record.request)


def _to_json(value: Any, label: str) -> str:
    try:
        text = _dumps(value)
        text.encode()
        is_restored = json.loads(text) == value
    except UnicodeEncodeError as error:
        msg = f"{label}: it contains a lone surrogate ({error.reason})."
        raise SchemaError(msg) from error
    except (TypeError, ValueError, RecursionError) as error:
        msg = (
            f"{label} contains a value that JSON does not support: {error}. "
            "Pass dates as text (isoformat()), and leave out NaN and infinity."
        )
        raise SchemaError(msg) from error
    if not is_restored:
        msg = (
            f"{label} cannot be restored from JSON unchanged: it contains a tuple or a key that is "
            "not a string. Use lists and string keys."
        )
        raise SchemaError(msg)
    return text
