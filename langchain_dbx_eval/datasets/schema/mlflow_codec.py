"""Records as rows of MLflow's evaluation datasets, and of Databricks' managed ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from langchain_dbx_eval.datasets.record import EvalRecord, from_cell, parse_cell, record_key
from langchain_dbx_eval.datasets.schema.row_codec import KEY, decode, encode, stored_trace
from langchain_dbx_eval.errors import SchemaError

__all__ = [
    "from_frame",
    "from_managed",
    "from_mlflow",
    "from_table",
    "map_numbers",
    "to_frame",
    "to_managed",
    "to_mlflow",
]

# MLflow's datasets have no column for these values: tags and expectations contain them.
_REQUEST_ID_TAG = "dbx_eval.request_id"
_METADATA_TAG = "dbx_eval.metadata."
_RESPONSE = "dbx_eval.response"
_EXTRA_EXPECTATIONS = {
    "retrieved_context": "dbx_eval.retrieved_context",
    "trace": "dbx_eval.trace",
}
# Columns of the frames of MLflow's and databricks-agents' `to_df` that are not part of a record.
_FRAME_COLUMNS = frozenset(
    {KEY, "source", "source_type", "source_id", "created_time", "create_time", "created_by"}
    | {"last_update_time", "last_updated_by"}
)
_MANAGED_COLUMNS = frozenset({KEY, "inputs", "expectations", "tags"})
# Databricks' service stores numbers as protobuf's Value, which is a double.
_MAX_INTEGER = 2**53


def to_mlflow(record: EvalRecord, index: int = 0) -> dict[str, Any]:
    """Encode a record as a row of an MLflow dataset.

    Metadata is added to the tags, and retrieved documents and a trace to the expectations, under
    names that start with ``dbx_eval.``; `from_mlflow` restores them.

    Args:
        record: The record.
        index: The record's index, from 0, for error messages.

    Returns:
        ``inputs`` and ``tags``, and ``expectations`` and ``outputs`` if there are any.

    Raises:
        SchemaError: A value cannot be restored from JSON unchanged.
    """
    encode(record, index)
    metadata, tags = _split_tags(record)
    tags |= {f"{_METADATA_TAG}{name}": json.dumps(value) for name, value in metadata.items()}
    row: dict[str, Any] = {"inputs": record.inputs, "tags": tags}
    extra = {"retrieved_context": record.retrieved_context, "trace": stored_trace(record)}
    expectations = {
        **record.expectations,
        **{_EXTRA_EXPECTATIONS[k]: value for k, value in extra.items() if value is not None},
    }
    if expectations:
        row["expectations"] = expectations
    if record.response is not None:
        row["outputs"] = record.response
    if record.request_id != record_key(record.request):
        row["tags"][_REQUEST_ID_TAG] = record.request_id
    return row


def from_mlflow(row: Mapping[str, Any]) -> dict[str, Any]:
    """Decode a row of an MLflow dataset for `EvalRecord.from_row`."""
    expectations = dict(row.get("expectations") or {})
    tags = dict(row.get("tags") or {})
    values: dict[str, Any] = {"inputs": row["inputs"], "expectations": expectations}
    for name, stored in _EXTRA_EXPECTATIONS.items():
        if stored in expectations:
            values[name] = expectations.pop(stored)
    if row.get("outputs") not in (None, {}):
        values["outputs"] = row["outputs"]
    if _REQUEST_ID_TAG in tags:
        values["request_id"] = tags.pop(_REQUEST_ID_TAG)
    metadata: dict[str, Any] = {}
    for name in [name for name in tags if name.startswith(_METADATA_TAG)]:
        metadata[name.removeprefix(_METADATA_TAG)] = json.loads(tags.pop(name))
    if own_tags := {name: tag for name, tag in tags.items() if not name.startswith("mlflow.")}:
        metadata["tags"] = own_tags
    if metadata:
        values["metadata"] = metadata
    return values


def to_frame(record: EvalRecord) -> dict[str, Any]:
    """Return a record as a row of `EvalDataset.to_df`: MLflow's columns, then those of its own."""
    metadata, tags = _split_tags(record)
    row = {
        KEY: record_key(record.request),
        "inputs": record.inputs,
        "outputs": record.response,
        "expectations": record.expectations,
        "tags": tags,
        "request_id": record.request_id,
    }
    optional = {
        "retrieved_context": record.retrieved_context,
        "trace": record.trace,
        "metadata": metadata or None,
    }
    return {**row, **{name: value for name, value in optional.items() if value is not None}}


def from_frame(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Decode a row of a frame for `EvalRecord.from_row`.

    Args:
        row: Values by column. With a column ``dataset_record_id``, it is a row of a table, or one
            of a frame that `to_df` returned, here or in MLflow; others are returned unchanged.
    """
    if KEY not in row:
        return row
    if isinstance(row.get("inputs"), str):
        return from_table(row)
    values = {name: value for name, value in row.items() if name not in _FRAME_COLUMNS}
    found: dict[str, Any] = {"inputs": values.pop("inputs", None)}
    for name in ("expectations", "tags", "metadata"):
        # Any other value stays where it is, for `EvalRecord.from_row` to reject.
        if isinstance(value := parse_cell(from_cell(values.get(name))), dict):
            found[name] = value
            del values[name]
    if "source_type" in row and values.get("outputs") == {}:
        # In MLflow's own store, empty outputs mean that there is no response.
        del values["outputs"]
    restored = from_mlflow(found)
    metadata = {**found.get("metadata", {}), **restored.pop("metadata", {})}
    return {**values, **restored, **({"metadata": metadata} if metadata else {})}


def to_managed(record: EvalRecord, index: int = 0) -> dict[str, Any]:
    """Encode a record as a row of a managed dataset: inputs, expectations and tags.

    Args:
        record: The record.
        index: The record's index, from 0, for error messages.

    Raises:
        SchemaError: A value cannot be restored unchanged.
    """
    row = to_mlflow(record, index)
    if "outputs" in row:
        row["expectations"] = {**row.get("expectations", {}), _RESPONSE: row.pop("outputs")}
    for name in record.expectations.keys() - (record.custom_expected or {}).keys():
        # databricks-agents 1.13 drops them silently.
        if not record.expectations[name]:
            msg = f"Record {index}, column {name!r}: a managed dataset cannot store an empty value."
            raise SchemaError(f"{msg} Leave it out.")
    for name, value in row["tags"].items():
        if not isinstance(value, str):
            msg = (
                f"Record {index}, tag {name!r}: a managed dataset requires a string, got {value!r}."
            )
            raise SchemaError(f"{msg} Convert it with str().")
    for name in ("inputs", "expectations"):
        label = f"Record {index}, column {name!r}"
        map_numbers(row.get(name), partial(_check_number, label=label))
    if record.request_id != record_key(map_numbers(record.request, _restore_integer)):
        row["tags"][_REQUEST_ID_TAG] = record.request_id
    return row


def from_managed(row: Mapping[str, Any]) -> dict[str, Any]:
    """Decode inputs, expectations and tags of a managed dataset for `EvalRecord.from_row`."""
    restored = {
        name: map_numbers(row.get(name), _restore_integer) for name in ("inputs", "expectations")
    }
    values = from_mlflow({**row, **restored})
    if _RESPONSE in values["expectations"]:
        values["outputs"] = values["expectations"].pop(_RESPONSE)
    return values


def from_table(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Decode a row of any table for `EvalRecord.from_row`.

    Args:
        row: Values by column; JSON columns contain text. The format is inferred from the
            columns: this package's schema, or that of a managed dataset. A row of any other table
            is returned unchanged.
    """
    if KEY not in row:
        return row
    values = decode(row)
    if "metadata" in row or not row.keys() >= _MANAGED_COLUMNS:
        return values
    return from_managed({**values, "tags": (values.get("metadata") or {}).get("tags")})


def _split_tags(record: EvalRecord) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the metadata of a record without its tags, and the tags."""
    metadata = dict(record.metadata)
    tags = metadata.pop("tags", {}) if isinstance(metadata.get("tags", {}), dict) else {}
    return metadata, dict(tags)


def map_numbers(value: Any, convert: Callable[[float], float]) -> Any:
    """Return a JSON value with each number in it converted."""
    if isinstance(value, dict):
        return {name: map_numbers(inner, convert) for name, inner in value.items()}
    if isinstance(value, list):
        return [map_numbers(inner, convert) for inner in value]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return convert(value) if is_number else value


def _restore_integer(number: float) -> float:
    return int(number) if abs(number) <= _MAX_INTEGER and number == int(number) else number


def _check_number(number: float, label: str) -> float:
    if isinstance(number, int) and abs(number) > _MAX_INTEGER:
        msg = f"{label}: a managed dataset would round the number {number}. Pass it as text."
        raise SchemaError(msg)
    return number
