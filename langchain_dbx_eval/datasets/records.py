"""One evaluation record, in either vocabulary, checked.

Two vocabularies come in. Agent Evaluation's: ``request``, ``response``, ``expected_response``, ….
MLflow 3's: ``inputs``, ``outputs``, ``expectations``. (Databricks, "Agent Evaluation input schema";
MLflow, "Evaluation datasets".)
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from langchain_dbx_eval.errors import SchemaError

__all__ = ["EvalRecord", "read_records", "record_key"]

_ALIASES = {"inputs": "request", "outputs": "response"}
_EXPECTATIONS = (
    "expected_response",
    "expected_facts",
    "guidelines",
    "expected_retrieved_context",
)
# A text has no name of its own among `inputs`, which MLflow wants to be a dict.
_TEXT_INPUT = "request"


@dataclass(frozen=True, kw_only=True)
class EvalRecord:
    """What to ask, and what is known about a good answer.

    Attributes:
        request: A text, messages (``{"messages": [...]}``), or any JSON.
        request_id: The record's name; default: `record_key` of its request.
        response: An answer given earlier, where there is one.
        expected_response: The right answer, as a text.
        expected_facts: Statements that a right answer makes.
        guidelines: Rules that the answer must keep, as a list, or as lists by name.
        expected_retrieved_context: Documents that should be found: ``{"doc_uri", "content"?}``.
        retrieved_context: Documents that were found earlier: ``{"doc_uri"?, "content"?}``.
        trace: An MLflow trace of the earlier answer.
        metadata: Whatever else the row has, by column.
    """

    request: Any
    request_id: str = ""
    response: Any = None
    expected_response: str | None = None
    expected_facts: list[str] | None = None
    guidelines: list[str] | dict[str, list[str]] | None = None
    expected_retrieved_context: list[dict[str, Any]] | None = None
    retrieved_context: list[dict[str, Any]] | None = None
    trace: Any = None
    metadata: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.request_id:
            object.__setattr__(self, "request_id", record_key(self.request))

    @classmethod
    def from_row(cls, row: Mapping[str, Any], number: int = 0) -> EvalRecord:
        """Read one row of a table, in either vocabulary.

        Args:
            row: Values by column; None and NaN are absent.
            number: The row's place, for messages; the first is 0.

        Raises:
            SchemaError: A column is missing, given twice, or of another type.
        """
        values = {str(k): v for k, v in ((k, _cell(v)) for k, v in row.items()) if v is not None}
        for alias, name in _ALIASES.items():
            if alias in values:
                if name in values:
                    raise _broken(number, alias, f"both {alias!r} and {name!r} are given")
                values[name] = values.pop(alias)
        expectations = values.pop("expectations", {})
        if not isinstance(expectations, dict):
            raise _broken(number, "expectations", f"a dict, not {_kind(expectations)}")
        for name in _EXPECTATIONS:
            if name in expectations:
                values.setdefault(name, expectations[name])
        others = {k: v for k, v in expectations.items() if k not in _EXPECTATIONS}
        if "request" not in values:
            raise _broken(number, "request", "a value under 'request' (or 'inputs')")
        values["request"] = _without_wrapping(values["request"])
        _check_types(values, number)
        known = {f.name for f in fields(cls)} - {"metadata"}
        metadata = {**_dict_or_empty(values.get("metadata")), **others}
        metadata |= {k: v for k, v in values.items() if k not in known and k != "metadata"}
        return cls(**{k: v for k, v in values.items() if k in known}, metadata=metadata)

    @property
    def inputs(self) -> dict[str, Any]:
        """The request as MLflow's ``inputs``: itself if it is a dict, else under ``request``."""
        return inputs_of(self.request)

    @property
    def expectations(self) -> dict[str, Any]:
        """What is known about a good answer, as MLflow's ``expectations``."""
        known = {name: getattr(self, name) for name in _EXPECTATIONS}
        return {name: value for name, value in known.items() if value is not None}

    def to_row(self) -> dict[str, Any]:
        """The record in Agent Evaluation's columns; absent values are left out."""
        row = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "metadata"}
        return {
            **self.metadata,
            **{name: value for name, value in row.items() if value is not None},
        }


def read_records(rows: Iterable[Any]) -> tuple[list[EvalRecord], list[SchemaError]]:
    """Read many rows; a bad one does not lose the others.

    Args:
        rows: Mappings or records.

    Returns:
        The good records in their order, and one error for each bad row.
    """
    records: list[EvalRecord] = []
    errors: list[SchemaError] = []
    for number, row in enumerate(rows):
        if isinstance(row, EvalRecord):
            records.append(row)
            continue
        try:
            if not isinstance(row, Mapping):
                raise _broken(number, "(the row)", f"a dict of columns, not {_kind(row)}")
            records.append(EvalRecord.from_row(row, number))
        except SchemaError as error:
            errors.append(error)
    return records, errors


def record_key(request: Any) -> str:
    """The key under which MLflow's datasets hold a record, so that ours and theirs agree.

    It is the SHA-256 of the inputs as JSON with sorted keys
    (`mlflow.store.tracking.sqlalchemy_store`, MLflow 3.17).

    Args:
        request: The record's request, or its ``inputs``.

    Returns:
        64 hexadecimal digits.
    """
    text = json.dumps(inputs_of(request), sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def inputs_of(request: Any) -> dict[str, Any]:
    """A request as MLflow's ``inputs``."""
    return request if isinstance(request, dict) else {_TEXT_INPUT: request}


def _without_wrapping(request: Any) -> Any:
    if isinstance(request, dict) and request.keys() == {_TEXT_INPUT}:
        return request[_TEXT_INPUT]
    return request


def _check_types(values: dict[str, Any], number: int) -> None:
    for name, kind, words in (
        ("request_id", str, "a text"),
        ("expected_response", str, "a text"),
        ("expected_facts", list, "a list of texts"),
        ("guidelines", (list, dict), "a list of texts, or lists of texts by name"),
        ("expected_retrieved_context", list, "a list of {'doc_uri', 'content'}"),
        ("retrieved_context", list, "a list of {'doc_uri', 'content'}"),
    ):
        if name in values and not isinstance(values[name], kind):
            raise _broken(number, name, f"{words}, not {_kind(values[name])}")
    for name in ("expected_retrieved_context", "retrieved_context"):
        for chunk in values.get(name, []):
            if not isinstance(chunk, dict):
                raise _broken(number, name, f"objects in its list, not {_kind(chunk)}")
    for chunk in values.get("expected_retrieved_context", []):
        if not isinstance(chunk.get("doc_uri"), str):
            raise _broken(
                number, "expected_retrieved_context", "a 'doc_uri' in each of its objects"
            )


def _broken(number: int, column: str, expected: str) -> SchemaError:
    return SchemaError(f"Row {number}, column {column!r}: expected {expected}.")


def _kind(value: Any) -> str:
    return type(value).__name__


def _dict_or_empty(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _cell(value: Any) -> Any:
    """A cell of a frame as plain Python: NaN is None, for frames have no other way to say it."""
    plain = _plain(value)
    return None if isinstance(plain, float) and math.isnan(plain) else plain


def _plain(value: Any) -> Any:
    """A value as plain Python: an array is a list. NaN inside of something stays what it is."""
    if type(value).__module__.startswith(("numpy", "pandas")):
        if hasattr(value, "tolist"):
            return _plain(value.tolist())
        # pandas' NA and NaT are equal to nothing, themselves included.
        return value if bool(value is value and str(value) not in {"<NA>", "NaT"}) else None
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return value
