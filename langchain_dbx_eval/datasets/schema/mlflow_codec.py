"""How a record lies in MLflow's datasets, its own and Databricks', and the way there and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from langchain_dbx_eval.datasets.record import EvalRecord, record_key
from langchain_dbx_eval.datasets.schema.row_codec import KEY, decode, encode
from langchain_dbx_eval.errors import SchemaError

__all__ = ["from_managed", "from_mlflow", "from_table", "to_managed", "to_mlflow"]

# Where MLflow has no place for it: a tag, and an expectation.
_REQUEST_ID_TAG = "dbx_eval.request_id"
_BESIDE = ("retrieved_context", "trace")
_RESPONSE = "dbx_eval.response"
_MANAGED_COLUMNS = frozenset({KEY, "inputs", "expectations", "tags"})
# Databricks' service keeps numbers as protobuf's Value, which is a double.
_LARGEST_INTEGER = 2**53


def to_mlflow(record: EvalRecord, number: int = 0) -> dict[str, Any]:
    """A record as MLflow's datasets hold it.

    What MLflow has no place for goes to the expectations, from where `from_mlflow` takes it back.

    Raises:
        SchemaError: A value would not come back from JSON as it is.
    """
    encode(record, number)
    metadata = dict(record.metadata)
    tags = metadata.pop("tags", None) or {}
    row: dict[str, Any] = {"inputs": record.inputs, "tags": dict(tags)}
    beside = {"retrieved_context": record.retrieved_context, "trace": record.trace}
    expectations = {
        **metadata,
        **record.expectations,
        **{name: value for name, value in beside.items() if value is not None},
    }
    if expectations:
        row["expectations"] = expectations
    if record.response is not None:
        row["outputs"] = record.response
    if record.request_id != record_key(record.request):
        row["tags"][_REQUEST_ID_TAG] = record.request_id
    return row


def from_mlflow(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of MLflow's, as `EvalRecord.from_row` reads it."""
    expectations = dict(row.get("expectations") or {})
    tags = dict(row.get("tags") or {})
    values: dict[str, Any] = {"inputs": row["inputs"], "expectations": expectations}
    values |= {name: expectations.pop(name) for name in _BESIDE if name in expectations}
    if row.get("outputs") not in (None, {}):
        values["outputs"] = row["outputs"]
    if _REQUEST_ID_TAG in tags:
        values["request_id"] = tags.pop(_REQUEST_ID_TAG)
    if own := {name: tag for name, tag in tags.items() if not name.startswith("mlflow.")}:
        values["metadata"] = {"tags": own}
    return values


def to_managed(record: EvalRecord, number: int = 0) -> dict[str, Any]:
    """A record as Databricks' managed datasets hold it: inputs, expectations and tags.

    Raises:
        SchemaError: A value would not come back as it is.
    """
    row = to_mlflow(record, number)
    if "outputs" in row:
        row["expectations"] = {**row.get("expectations", {}), _RESPONSE: row.pop("outputs")}
    for name, value in record.expectations.items():
        # databricks-agents 1.13 leaves them out without a word.
        if not value:
            msg = f"Record {number}, column {name!r}: a managed dataset keeps no empty {name}."
            raise SchemaError(f"{msg} Leave it out.")
    for name, value in row["tags"].items():
        if not isinstance(value, str):
            msg = f"Record {number}, tag {name!r}: a managed dataset keeps texts only, not {value}."
            raise SchemaError(msg)
    for name in ("inputs", "expectations"):
        _check_numbers(row.get(name), f"Record {number}, column {name!r}")
    if record.request_id != record_key(_without_fractions(record.request)):
        row["tags"][_REQUEST_ID_TAG] = record.request_id
    return row


def from_managed(row: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs, expectations and tags of a managed dataset, as `EvalRecord.from_row` reads them."""
    read = {name: _without_fractions(row.get(name)) for name in ("inputs", "expectations")}
    values = from_mlflow({**row, **read})
    if _RESPONSE in values["expectations"]:
        values["outputs"] = values["expectations"].pop(_RESPONSE)
    return values


def from_table(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row of a table, as `EvalRecord.from_row` reads it: of ours, of Databricks', or of another.

    Args:
        row: The values by column; JSON columns hold text.
    """
    if KEY not in row:
        return row
    values = decode(row)
    if "metadata" in row or not row.keys() >= _MANAGED_COLUMNS:
        return values
    return from_managed({**values, "tags": (values.get("metadata") or {}).get("tags")})


def _without_fractions(value: Any) -> Any:
    """Doubles that are whole numbers as such: as which they were most likely given."""
    if isinstance(value, dict):
        return {name: _without_fractions(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_without_fractions(inner) for inner in value]
    whole = isinstance(value, float) and abs(value) <= _LARGEST_INTEGER and value == int(value)
    return int(value) if whole else value


def _check_numbers(value: Any, where: str) -> None:
    inner: Iterable[Any] = ()
    if isinstance(value, dict):
        inner = value.values()
    elif isinstance(value, list):
        inner = value
    elif isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
        msg = f"{where}: a managed dataset would round the number {value}. Give it as text."
        raise SchemaError(msg)
    for item in inner:
        _check_numbers(item, where)
