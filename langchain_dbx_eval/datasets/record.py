"""One evaluation record: parsed from a row of either vocabulary, and validated.

A row has the columns of Agent Evaluation (``request``, ``response``, ``expected_response``, …) or
those of MLflow 3 (``inputs``, ``outputs``, ``expectations``). Sources: Databricks, "Agent
Evaluation input schema"; MLflow, "Evaluation datasets".
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from langchain_core.messages import BaseMessage, convert_to_openai_messages

from langchain_dbx_eval.errors import SchemaError

__all__ = [
    "DOC_URI_KEYS",
    "MAX_DEPTH",
    "EvalRecord",
    "check_record",
    "describe_names",
    "describe_value",
    "doc_uri_of",
    "from_cell",
    "misnamed_columns",
    "parse_cell",
    "parse_json",
    "parse_json_strictly",
    "record_key",
    "trace_id_of",
]

DOC_URI_KEYS = ("doc_uri", "uri", "source", "url")
"""The metadata keys in which LangChain's loaders and vector stores store a document's URI."""

MAX_DEPTH = 200
"""Levels of a nested value. What reads records is recursive, as are MLflow and pandas, and Python
limits all calls together (to 1,000 by default)."""

_ALIASES = {
    "inputs": "request",
    "outputs": "response",
    "custom_expected": "expectations",
}
_EXPECTATIONS = (
    "expected_response",
    "expected_facts",
    "guidelines",
    "expected_retrieved_context",
)
# Names in other libraries and data sets (RAGAS, LangSmith, DeepEval, Hugging Face), by column.
_MISNOMERS = {
    name: column
    for column, names in {
        "request": "question query prompt input user_input",
        "response": "answer output completion prediction actual_output",
        "expected_response": "expected_answer expected_output ground_truth ground_truths reference "
        "reference_answer target targets correct_answer",
        "retrieved_context": "context contexts retrieved_contexts retrieval_context",
        "expected_retrieved_context": "expected_context reference_contexts",
    }.items()
    for name in names.split()
}
# MLflow's `inputs` are always a dict: a string request is stored there under this key.
_STRING_INPUT = "request"
_SCALARS = frozenset({str, int, float, bool, type(None)})
# Warehouse tables and CSV files store the lists and objects of these columns as JSON text.
_JSON_COLUMNS = (
    "inputs",
    "expectations",
    "custom_expected",
    "expected_facts",
    "guidelines",
    "expected_retrieved_context",
    "retrieved_context",
    "metadata",
)


@dataclass(frozen=True, kw_only=True)
class EvalRecord:
    """A request, and what is known about a correct response to it.

    Attributes:
        request: A string; chat messages (``{"messages": [...]}``, or a list of messages, as dicts
            or as LangChain's objects); a query with its history (``{"query": …, "history":
            [...]}``); or any JSON value.
        request_id: The record's identifier; default: `record_key` of the request.
        response: An existing response, if there is one: a string, a chat completion
            (``{"choices": [...]}``), ``{"content": …}``, ``{"messages": [...]}``, a list of
            messages (the last one counts), or any JSON value.
        expected_response: The correct response, as a string.
        expected_facts: Statements that a correct response contains.
        guidelines: Rules that the response must follow: a list, or lists by name.
        expected_retrieved_context: Documents that the retriever should return:
            ``{"doc_uri", "content"?}``.
        custom_expected: All other expectations, by name; None is an absent value.
        retrieved_context: Documents that the retriever returned: ``{"doc_uri"?, "content"?}``.
        trace: The MLflow trace of `response`: the object, its dict, or its JSON.
        metadata: All other columns of the row.
    """

    request: Any
    request_id: str = ""
    response: Any = None
    expected_response: str | None = None
    expected_facts: list[str] | None = None
    guidelines: list[str] | dict[str, list[str]] | None = None
    expected_retrieved_context: list[dict[str, Any]] | None = None
    custom_expected: dict[str, Any] | None = None
    retrieved_context: list[dict[str, Any]] | None = None
    trace: Any = None
    metadata: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.request_id:
            object.__setattr__(self, "request_id", record_key(self.request))

    @classmethod
    def from_row(cls, row: Mapping[str, Any], index: int = 0) -> EvalRecord:
        """Parse one row of a table, in either vocabulary.

        Args:
            row: Values by column. None and NaN are absent values. Columns of lists and objects may
                contain them as JSON text.
            index: The row's index, from 0, for error messages.

        Returns:
            The record. Expectations without a field of their own are its `custom_expected`, other
            columns its `metadata`.

        Raises:
            SchemaError: A column is missing, given under both of its names, or of a wrong type.
        """
        values = _rename_columns(
            {str(name): _read_cell(str(name), value, index) for name, value in row.items()}, index
        )
        expectations = values.pop("expectations", {})
        _check_column("expectations", expectations, index)
        for name in _EXPECTATIONS:
            if expectations.get(name) is not None:
                values.setdefault(name, expectations[name])
        if custom := _present(expectations, without=_EXPECTATIONS):
            values["custom_expected"] = custom
        if "request" not in values:
            found = f"The row has {describe_names(row)}" if row else "The row is empty"
            similar = [name for name in map(str, row) if _meant_by(name) == "request"]
            advice = f". Rename {similar[0]!r} to 'request'" if similar else ""
            expected = f"a value in 'request' or 'inputs', got none. {found}{advice}"
            raise _column_error(index, "request", expected)
        values["request"] = _unwrap_string(values["request"])
        for name, value in values.items():
            _check_column(name, value, index)
        known = {f.name for f in fields(cls)} - {"metadata"}
        metadata = {**values.get("metadata", {})}
        metadata |= {k: v for k, v in values.items() if k not in known and k != "metadata"}
        return cls(**{k: v for k, v in values.items() if k in known}, metadata=metadata)

    @property
    def inputs(self) -> dict[str, Any]:
        """The request as MLflow's ``inputs``: a dict unchanged, other values under ``request``."""
        return _inputs_of(self.request)

    @property
    def expectations(self) -> dict[str, Any]:
        """All expected values that the record has, as MLflow's ``expectations``."""
        values = {name: getattr(self, name) for name in _EXPECTATIONS}
        return {**_present(self.custom_expected or {}, without=_EXPECTATIONS), **_present(values)}

    @property
    def trace_id(self) -> str | None:
        """The id of the MLflow trace of `response`: the column ``trace_id``, or that of `trace`."""
        stored = self.metadata.get("trace_id")
        return stored if isinstance(stored, str) else trace_id_of(self.trace)

    def to_row(self) -> dict[str, Any]:
        """Return the record in Agent Evaluation's columns, without absent values."""
        row = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "metadata"}
        return {
            **self.metadata,
            **{name: value for name, value in row.items() if value is not None},
        }


def record_key(request: Any) -> str:
    """Return the key under which MLflow's datasets store a record.

    It is the SHA-256 of the inputs as JSON with sorted keys
    (`mlflow.store.tracking.sqlalchemy_store`, MLflow 3.17).

    Args:
        request: The record's request, or its ``inputs``.

    Returns:
        64 hexadecimal digits.

    Raises:
        SchemaError: The request is nested deeper than `MAX_DEPTH`, or contains an integer that
            Python does not convert.
    """
    try:
        text = json.dumps(_inputs_of(_to_plain(request)), sort_keys=True, default=str)
    except (ValueError, RecursionError) as error:
        raise _value_error(error, "The request: ") from error
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def doc_uri_of(metadata: Mapping[str, Any]) -> str | None:
    """Return the URI of a retrieved document.

    Args:
        metadata: The document's metadata.

    Returns:
        The value of the first key of `DOC_URI_KEYS` that has one, as a string; else None.
    """
    values = (metadata.get(key) for key in DOC_URI_KEYS)
    return next((str(value) for value in values if value not in (None, "")), None)


def trace_id_of(trace: Any) -> str | None:
    """Return the id of an MLflow trace (the object, its dict, or its JSON); None for others."""
    parsed = parse_json(trace)
    info = parsed.get("info") if isinstance(parsed, dict) else getattr(parsed, "info", None)
    id_ = info.get("trace_id") if isinstance(info, dict) else getattr(info, "trace_id", None)
    return id_ if isinstance(id_, str) else None


def parse_json(value: Any) -> Any:
    """Return the value of a JSON text; anything else, other strings included, unchanged."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def parse_json_strictly(text: str | bytes) -> Any:
    """Parse a JSON text of a record, and reject one that two parsers may read differently.

    NaN and Infinity are accepted, since Python writes them for the empty numbers of a frame.

    Args:
        text: The JSON; bytes in UTF-8, UTF-16 or UTF-32.

    Returns:
        The value.

    Raises:
        SchemaError: The text is JSON, but a key appears twice in one object, it is nested deeper
            than `MAX_DEPTH`, or it contains an integer of more than 4,300 digits.
        ValueError: The text is not JSON.
    """
    if isinstance(text, bytes):
        text = text.decode(json.detect_encoding(text))
    try:
        value = json.loads(text, object_pairs_hook=_unique_keys)
        # Two levels more: of the row itself, and of `inputs` around a request.
        return _to_plain(value, depth=-2) if _may_be_deep(text) else value
    except (json.JSONDecodeError, SchemaError):
        raise
    except (ValueError, RecursionError) as error:
        raise _value_error(error) from error


def parse_cell(value: Any) -> Any:
    """Return the value of a JSON text; anything else, other strings included, unchanged.

    Raises:
        SchemaError: See `parse_json_strictly`.
    """
    try:
        return parse_json_strictly(value) if isinstance(value, str) else value
    except json.JSONDecodeError:
        return value


def from_cell(value: Any) -> Any:
    """Return a frame's cell as plain Python; NaN, a frame's empty number, is None.

    Raises:
        RecursionError: The value is nested deeper than `MAX_DEPTH`.
    """
    # The dict around the request in `inputs` is no level of the request.
    plain = _to_plain(value, depth=-1 if _is_wrapped(value) else 0)
    return None if isinstance(plain, float) and math.isnan(plain) else plain


def describe_value(value: Any) -> str:
    """Return the type of a value and its first 60 characters, for error messages."""
    try:
        text = repr(value)
    except Exception:
        # A deeply nested list, an integer of 4,301 digits, or an object whose __repr__ fails.
        return f"{type(value).__name__}"
    return f"{type(value).__name__} {text[:60]}{'…' if len(text) > 60 else ''}"


def describe_names(names: Iterable[Any]) -> str:
    """Return the first ten names of columns, for error messages."""
    listed = [repr(str(name)[:60]) for name in names]
    more = f" and {len(listed) - 10} more" if len(listed) > 10 else ""
    return ("the column " if len(listed) == 1 else "the columns ") + ", ".join(listed[:10]) + more


def misnamed_columns(record: EvalRecord) -> dict[str, str]:
    """Return columns that were probably meant to be others, which the record lacks.

    Returns:
        The name of the column that a scorer reads, by that of the metadata.
    """
    names = {name: _meant_by(name) for name in record.metadata}
    return {
        name: meant for name, meant in names.items() if meant and getattr(record, meant, "") is None
    }


def check_record(record: EvalRecord, index: int) -> None:
    """Validate a record that was not read from a row.

    Args:
        record: The record.
        index: Its index, from 0, for error messages.

    Raises:
        SchemaError: A field is of a wrong type, or nested deeper than `MAX_DEPTH`.
    """
    for name, value in vars(record).items():
        if value is not None:
            try:
                _check_column(name, from_cell(value), index)
            except RecursionError as error:
                raise _value_error(error, f"Row {index}, column {name!r}: ") from error


def _inputs_of(request: Any) -> dict[str, Any]:
    return request if isinstance(request, dict) else {_STRING_INPUT: request}


def _present(values: Mapping[str, Any], without: Collection[str] = ()) -> dict[str, Any]:
    return {k: v for k, v in values.items() if v is not None and k not in without}


def _unwrap_string(request: Any) -> Any:
    return request[_STRING_INPUT] if _is_wrapped(request) else request


def _is_wrapped(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {_STRING_INPUT}


def _read_cell(name: str, value: Any, index: int) -> Any:
    """Return a cell as plain Python, and the JSON of a column that contains it as text, parsed."""
    try:
        plain = from_cell(value)
        parsed = parse_cell(plain) if name in _JSON_COLUMNS else plain
        if parsed is not plain and _may_be_deep(plain):
            from_cell(parsed)
    except (ValueError, RecursionError) as error:
        raise _value_error(error, f"Row {index}, column {name!r}: ") from error
    # A string that is the JSON of a scalar, such as the question "5", stays a string.
    return parsed if isinstance(parsed, list | dict) else plain


def _rename_columns(row: dict[str, Any], index: int) -> dict[str, Any]:
    """Return the values that are present under Agent Evaluation's names."""
    values = {name: value for name, value in row.items() if value is not None}
    for alias, name in _ALIASES.items():
        if alias in values:
            if name in values:
                raise _column_error(index, alias, f"only one of {alias!r} and {name!r}, got both")
            values[name] = values.pop(alias)
    return values


def _is_string(value: Any) -> bool:
    return isinstance(value, str)


def _is_strings(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_string, value))


def _is_guidelines(value: Any) -> bool:
    return _is_strings(value) or (isinstance(value, dict) and all(map(_is_strings, value.values())))


def _is_dict(value: Any) -> bool:
    return isinstance(value, dict)


def _is_documents(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(document, dict)
        and all(isinstance(document.get(key), str | None) for key in ("doc_uri", "content"))
        for document in value
    )


def _is_expected_documents(value: Any) -> bool:
    return _is_documents(value) and all(document.get("doc_uri") is not None for document in value)


_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "request_id": (_is_string, "a string"),
    "expected_response": (_is_string, "a string"),
    "expected_facts": (_is_strings, "a list of strings"),
    "guidelines": (_is_guidelines, "a list of strings, or lists of strings by name"),
    "expected_retrieved_context": (
        _is_expected_documents,
        "a list of {'doc_uri': string, 'content': optional string}, each with a 'doc_uri'",
    ),
    "retrieved_context": (
        _is_documents,
        "a list of {'doc_uri': optional string, 'content': optional string}",
    ),
    "expectations": (_is_dict, "a dict"),
    "custom_expected": (_is_dict, "a dict"),
    "metadata": (_is_dict, "a dict"),
}


def _check_column(name: str, value: Any, index: int) -> None:
    is_valid, expected = _CHECKS.get(name, (None, ""))
    if is_valid is not None and not is_valid(value):
        raise _column_error(index, name, f"{expected}, got {describe_value(value)}")


def _column_error(index: int, column: str, expectation: str) -> SchemaError:
    return SchemaError(f"Row {index}, column {column!r}: expected {expectation}.")


def _may_be_deep(text: str) -> bool:
    return text.count("[") + text.count("{") > MAX_DEPTH


def _meant_by(name: str) -> str | None:
    """Return the column that another name was probably meant to be."""
    plain = name.strip().lower().replace(" ", "_").replace("-", "_")
    if plain in _MISNOMERS:
        return _MISNOMERS[plain]
    near = difflib.get_close_matches(plain, _CHECKS.keys() | {"request", "response"}, cutoff=0.85)
    return near[0] if near else None


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        msg = f"the key {twice[:60]!r} appears more than once in one object. Keep one of them."
        raise SchemaError(msg)
    return values


def _value_error(error: Exception, label: str = "") -> SchemaError:
    """Return the `SchemaError` of a value that `json` does not convert."""
    if isinstance(error, SchemaError):
        return SchemaError(f"{label}{error}")
    if isinstance(error, RecursionError):
        return SchemaError(f"{label}the value is nested deeper than {MAX_DEPTH} levels.")
    if "integer string conversion" in str(error):
        msg = f"{label}an integer has more than 4,300 digits, which Python does not convert."
        return SchemaError(f"{msg} Pass it as text.")
    return SchemaError(f"{label}the value has no JSON ({error}).")


def _to_plain(value: Any, depth: int = 0) -> Any:
    """Convert arrays to lists and messages to dicts, recursively; nested NaN stays NaN."""
    cls = type(value)
    if cls in _SCALARS:
        return value
    if depth >= MAX_DEPTH:
        raise RecursionError
    if cls is dict:
        return {str(key): _to_plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, BaseMessage):
        return convert_to_openai_messages(value)
    if cls.__module__.startswith(("numpy", "pandas")):
        if hasattr(value, "tolist"):
            return _to_plain(value.tolist(), depth + 1)
        # pandas' NA and NaT are equal to nothing, themselves included.
        return value if bool(value is value and str(value) not in {"<NA>", "NaT"}) else None
    if isinstance(value, list | tuple):
        return [_to_plain(item, depth + 1) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _to_plain(item, depth + 1) for key, item in value.items()}
    return value
