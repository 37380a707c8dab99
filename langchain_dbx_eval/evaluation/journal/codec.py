"""What a journal holds, as JSON text and back: rows, steps, messages, documents.

Whatever JSON has no form for, and this module knows no name for, becomes its text: a journal is
read without importing the user's classes, and without pickle.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Set
from datetime import date, datetime
from typing import Any
from uuid import UUID

from langchain_core.documents import Document
from langchain_core.messages import BaseMessage, messages_from_dict, messages_to_dict
from pydantic import BaseModel
from pydantic_core import PydanticSerializationError

from langchain_dbx_eval.datasets import EvalRecord
from langchain_dbx_eval.evaluation.capture.recorder import CapturedRun, Span
from langchain_dbx_eval.scoring import Assessment, JudgeUsage, Outcome, Skip

__all__ = ["dump", "load", "storable"]

_KIND = "$dbx_eval"
_DEEPEST = 64

_DATACLASSES: dict[str, type[Any]] = {
    known.__name__: known
    for known in (EvalRecord, Outcome, CapturedRun, Span, Assessment, Skip, JudgeUsage)
}
# What has no part in equality is how something was made, not what it is.
_FIELDS: dict[type[Any], tuple[str, ...]] = {
    known: tuple(field.name for field in dataclasses.fields(known) if field.compare)
    for known in _DATACLASSES.values()
}
_READERS: dict[str, Callable[[Any], Any]] = {
    "message": lambda value: messages_from_dict([value])[0],
    "document": lambda value: Document(**value),
    "uuid": UUID,
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
}


def dump(value: Any) -> str:
    """Write a value as JSON text."""
    try:
        return _encoder.encode(value)
    except (TypeError, ValueError, RecursionError):
        # Keys that are no texts, a value inside itself: what only a walk can put right.
        return _encoder.encode(_walked(value, 0))


def load(text: str) -> Any:
    """Read a value that `dump` wrote."""
    return _decoder.decode(text)


def storable(value: Any) -> Any:
    """A value as the journal will give it back, so that scorers see the same before and after."""
    if value is None or isinstance(value, str | int | float | bool | BaseMessage):
        return value
    return load(dump(value))


def _tagged(value: Any) -> Any:
    """JSON for what has none of its own; `json` calls it."""
    if isinstance(value, BaseMessage):
        return {_KIND: "message", "value": messages_to_dict([value])[0]}
    if isinstance(value, Document):
        return {_KIND: "document", "value": value.model_dump(exclude_none=True)}
    # By the class itself: users have dataclasses of these names too.
    if (names := _FIELDS.get(type(value))) is not None:
        # Not `asdict`, which copies deeply all that is inside.
        fields = {name: getattr(value, name) for name in names}
        return {_KIND: type(value).__name__, "value": fields}
    if isinstance(value, UUID):
        return {_KIND: "uuid", "value": str(value)}
    if isinstance(value, date):
        kind = "datetime" if isinstance(value, datetime) else "date"
        return {_KIND: kind, "value": value.isoformat()}
    return _plain(value)


def _plain(value: Any) -> Any:
    try:
        return _parts(value)
    except Exception:
        # An object's own code has failed. A row is not lost over what cannot be shown of it.
        return f"<{type(value).__module__}.{type(value).__qualname__}, which cannot be shown>"


def _parts(value: Any) -> Any:
    if isinstance(value, BaseModel):
        try:
            return value.model_dump(mode="json")
        except PydanticSerializationError:  # a field of a type that pydantic does not know
            return value.model_dump()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Set):
        return sorted(value, key=str)
    if type(value).__module__.startswith("mlflow."):
        return value.to_json() if hasattr(value, "to_json") else str(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)


def _walked(value: Any, depth: int) -> Any:
    if depth > _DEEPEST:
        return str(value)[:200]
    if isinstance(value, str | int | float | bool | None):
        return value
    if isinstance(value, dict):
        return {str(key): _walked(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_walked(item, depth + 1) for item in value]
    return _walked(_tagged(value), depth + 1)


def _revived(found: dict[str, Any]) -> Any:
    if _KIND not in found or len(found) != 2 or "value" not in found:
        return found
    kind, value = found[_KIND], found["value"]
    if kind == CapturedRun.__name__:
        return CapturedRun(
            **{**value, "spans": tuple(value["spans"]), "tags": tuple(value["tags"])}
        )
    if kind in _DATACLASSES:
        return _DATACLASSES[kind](**value)
    return _READERS[kind](value) if kind in _READERS else found


# `json.dumps` and `json.loads` would make these anew for each value.
_encoder = json.JSONEncoder(default=_tagged)
_decoder = json.JSONDecoder(object_hook=_revived)
