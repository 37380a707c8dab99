"""One evaluation record, in either vocabulary, checked.

Two vocabularies come in. Agent Evaluation's: ``request``, ``response``, ``expected_response``, ….
MLflow 3's: ``inputs``, ``outputs``, ``expectations``. (Databricks, "Agent Evaluation input schema";
MLflow, "Evaluation datasets".)
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from langchain_core.messages import BaseMessage, convert_to_openai_messages

from langchain_dbx_eval.errors import SchemaError

__all__ = ["DOC_URI_KEYS", "EvalRecord", "doc_uri_of", "record_key"]

DOC_URI_KEYS = ("doc_uri", "uri", "source", "url")
"""The metadata keys in which LangChain's loaders and vector stores keep a document's location."""

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
# A text has no name of its own among `inputs`, which MLflow wants to be a dict.
_TEXT_INPUT = "request"
_SCALARS = frozenset({str, int, float, bool, type(None)})
# Tables of a warehouse and CSV files hold these as JSON.
_NESTED = (
    "expectations",
    "expected_facts",
    "guidelines",
    "expected_retrieved_context",
    "retrieved_context",
    "metadata",
)


@dataclass(frozen=True, kw_only=True)
class EvalRecord:
    """What to ask, and what is known about a good answer.

    Attributes:
        request: A text; chat messages (``{"messages": [...]}``, or a list of them, LangChain's own
            included); a query with its history (``{"query": …, "history": [...]}``); or any JSON.
        request_id: The record's name; default: `record_key` of its request.
        response: An answer given earlier, where there is one: a text, a chat completion
            (``{"choices": [...]}``), ``{"content": …}``, ``{"messages": [...]}``, a list of
            messages (the last one counts), or any JSON.
        expected_response: The right answer, as a text.
        expected_facts: Statements that a right answer makes.
        guidelines: Rules that the answer must keep, as a list, or as lists by name.
        expected_retrieved_context: Documents that should be found: ``{"doc_uri", "content"?}``.
        retrieved_context: Documents that were found earlier: ``{"doc_uri"?, "content"?}``.
        trace: An MLflow trace of the earlier answer: the object, or its JSON.
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
            row: Values by column; None and NaN are absent. Columns that hold lists or objects may
                hold them as JSON text.
            number: The row's place, for messages; the first is 0.

        Raises:
            SchemaError: A column is missing, given twice, or of another type.
        """
        values = _named({str(name): _cell(value) for name, value in row.items()}, number)
        expectations = values.pop("expectations", {})
        _check("expectations", expectations, number)
        for name in _EXPECTATIONS:
            if expectations.get(name) is not None:
                values.setdefault(name, expectations[name])
        others = {k: v for k, v in expectations.items() if k not in _EXPECTATIONS}
        if "request" not in values:
            raise _broken(number, "request", "a value under 'request' (or 'inputs'), not nothing")
        values["request"] = _without_wrapping(values["request"])
        for name, value in values.items():
            _check(name, value, number)
        known = {f.name for f in fields(cls)} - {"metadata"}
        metadata = {**values.get("metadata", {}), **others}
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


def record_key(request: Any) -> str:
    """The key under which MLflow's datasets hold a record, so that ours and theirs agree.

    It is the SHA-256 of the inputs as JSON with sorted keys
    (`mlflow.store.tracking.sqlalchemy_store`, MLflow 3.17).

    Args:
        request: The record's request, or its ``inputs``.

    Returns:
        64 hexadecimal digits.
    """
    text = json.dumps(inputs_of(_plain(request)), sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def doc_uri_of(metadata: Mapping[str, Any]) -> str | None:
    """Return the location of a retrieved document.

    Args:
        metadata: The document's metadata.

    Returns:
        The value of the first key of `DOC_URI_KEYS` that has one, as a string; else None.
    """
    values = (metadata.get(key) for key in DOC_URI_KEYS)
    return next((str(value) for value in values if value not in (None, "")), None)


def inputs_of(request: Any) -> dict[str, Any]:
    """A request as MLflow's ``inputs``."""
    return request if isinstance(request, dict) else {_TEXT_INPUT: request}


def _named(row: dict[str, Any], number: int) -> dict[str, Any]:
    """The values that a row has, under Agent Evaluation's names, JSON columns parsed."""
    values = {name: value for name, value in row.items() if value is not None}
    for alias, name in _ALIASES.items():
        if alias in values:
            if name in values:
                raise _broken(number, alias, f"only one of {alias!r} and {name!r}, not both")
            values[name] = values.pop(alias)
    for name in _NESTED:
        if isinstance(values.get(name), str):
            values[name] = _from_json(values[name])
    return {name: value for name, value in values.items() if value is not None}


def _from_json(text: str) -> Any:
    """The list or object that a text holds as JSON; any other text as it is."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, list | dict) else text


def _without_wrapping(request: Any) -> Any:
    if isinstance(request, dict) and request.keys() == {_TEXT_INPUT}:
        return request[_TEXT_INPUT]
    return request


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_guidelines(value: Any) -> bool:
    return _is_texts(value) or (isinstance(value, dict) and all(map(_is_texts, value.values())))


def _is_chunks(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(chunk, dict)
        and all(isinstance(chunk.get(key), str | None) for key in ("doc_uri", "content"))
        for chunk in value
    )


def _is_named_chunks(value: Any) -> bool:
    return _is_chunks(value) and all(chunk.get("doc_uri") is not None for chunk in value)


_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "request_id": (lambda value: isinstance(value, str), "a text"),
    "expected_response": (lambda value: isinstance(value, str), "a text"),
    "expected_facts": (_is_texts, "a list of texts"),
    "guidelines": (_is_guidelines, "a list of texts, or lists of texts by name"),
    "expected_retrieved_context": (
        _is_named_chunks,
        "a list of {'doc_uri': text, 'content': text or absent}, with a 'doc_uri' in each",
    ),
    "retrieved_context": (
        _is_chunks,
        "a list of {'doc_uri': text or absent, 'content': text or absent}",
    ),
    "expectations": (lambda value: isinstance(value, dict), "a dict"),
    "metadata": (lambda value: isinstance(value, dict), "a dict"),
}


def _check(name: str, value: Any, number: int) -> None:
    accepts, words = _CHECKS.get(name, (None, ""))
    if accepts is not None and not accepts(value):
        raise _broken(number, name, f"{words}, not {_kind(value)}")


def _broken(number: int, column: str, expected: str) -> SchemaError:
    return SchemaError(f"Row {number}, column {column!r}: expected {expected}.")


def _kind(value: Any) -> str:
    """A value in words: its type, and its beginning, so that it can be found."""
    shown = json.dumps(value, ensure_ascii=False, default=str)
    return f"the {type(value).__name__} {shown[:60]}{'…' if len(shown) > 60 else ''}"


def _cell(value: Any) -> Any:
    """A cell of a frame as plain Python: NaN is None, for frames have no other way to say it."""
    plain = _plain(value)
    return None if isinstance(plain, float) and math.isnan(plain) else plain


def _plain(value: Any) -> Any:
    """A value as plain Python: lists for arrays, dicts for messages; NaN inside stays as it is."""
    kind = type(value)
    if kind in _SCALARS:
        return value
    if kind is dict:
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, BaseMessage):
        return convert_to_openai_messages(value)
    if kind.__module__.startswith(("numpy", "pandas")):
        if hasattr(value, "tolist"):
            return _plain(value.tolist())
        # pandas' NA and NaT are equal to nothing, themselves included.
        return value if bool(value is value and str(value) not in {"<NA>", "NaT"}) else None
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return value
