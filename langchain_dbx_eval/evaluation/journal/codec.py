"""The stored form of rows, scorer outputs and the manifest, as JSON text.

The names in `_FIELDS` are the file format of `schema.VERSION`. To store a new field, add its name,
and a migration that adds the field to older files.

Values of the user (requests, responses, inputs and outputs of steps) may contain objects for which
JSON has no form. Messages, documents, UUIDs and dates are stored as
``{"$dbx_eval": kind, "value": …}``, any other object as plain JSON or as its text. A journal can be
read without the user's classes, and without pickle.

What other stores refuse does not enter a journal: a character that UTF-8 or PostgreSQL cannot
represent (half of a surrogate pair, NUL) is stored as U+FFFD and its code, such as ``<U+D83D>``; a
value below `_MAX_DEPTH` levels as its text; an integer of too many digits in hexadecimal. Journals
of earlier releases are read in this form.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Set
from datetime import date, datetime
from itertools import accumulate
from typing import Any, TypeVar
from uuid import UUID

from langchain_core.documents import Document
from langchain_core.messages import BaseMessage, messages_from_dict, messages_to_dict
from pydantic import BaseModel
from pydantic_core import PydanticSerializationError

from langchain_dbx_eval.datasets import EvalRecord
from langchain_dbx_eval.evaluation.capture.spans import CapturedRun, Span
from langchain_dbx_eval.evaluation.journal.manifest import Destination, EvaluationManifest
from langchain_dbx_eval.evaluation.journal.rows import Answer, Row, RowKey
from langchain_dbx_eval.scoring import Assessment, JudgeUsage, Outcome, RowScores, Skip
from langchain_dbx_eval.scoring.score_row import ScorerOutput

__all__ = [
    "decode_manifest",
    "decode_record",
    "decode_row",
    "decode_scorer_output",
    "encode_answer",
    "encode_manifest",
    "encode_record",
    "encode_scorer_output",
    "round_trip",
]

_KIND = "$dbx_eval"
_MAX_DEPTH = 64
# Of the whole JSON text. The code that reads rows is recursive, such as that of MLflow and pandas.
_MAX_JSON_DEPTH = 100
# Python converts no longer integers (`sys.int_info.default_max_str_digits`): their bits.
_MAX_INTEGER_BITS = 14_000
_T = TypeVar("_T")

# The stored fields of this package's dataclasses.
_FIELDS: dict[type[Any], str] = {
    EvaluationManifest: """created_at dataset model repeat from_callback scorers destination run_id
        experiment_id complete logged replaced_traces versions""",
    Destination: "tracking_uri experiment_name experiment_id run_name run_id",
    Answer: "record outcome run matched",
    EvalRecord: """request request_id response expected_response expected_facts guidelines
        expected_retrieved_context custom_expected retrieved_context trace metadata""",
    Outcome: """response retrieved_context latency_seconds time_to_first_token_seconds input_tokens
        output_tokens error cached_input_tokens cost_usd""",
    CapturedRun: "spans metadata tags trace_id trace_span_id",
    Span: """run_id parent_id kind name inputs outputs error traceback start_ns end_ns
        first_token_ns input_tokens output_tokens cached_input_tokens model cost_usd""",
    Assessment: "name column leaf value rationale error source extra_columns metadata usage",
    JudgeUsage: "calls cached input_tokens output_tokens cost_usd seconds cached_input_tokens",
    Skip: "name reason value_column",
}
_NAMES = {type_: names.split() for type_, names in _FIELDS.items()}


def encode_manifest(manifest: EvaluationManifest) -> dict[str, str]:
    """Encode a manifest as JSON text by stored name."""
    return {name: _to_json(v) for name, v in _fields(EvaluationManifest, manifest).items()}


def decode_manifest(stored: Mapping[str, str]) -> EvaluationManifest:
    """Decode what `encode_manifest` returned."""
    fields = {name: json.loads(text) for name, text in stored.items()}
    fields["destination"] = Destination(**fields["destination"])
    return _build(EvaluationManifest, fields)


def encode_answer(answer: Answer) -> str:
    """Encode the answer of a row; the row's key, scores and trace id have columns of their own."""
    return _to_json(_fields(Answer, answer))


def decode_row(key: RowKey, answer: str, scores: RowScores, trace_id: str | None) -> Row:
    """Return a row from its answer (see `encode_answer`) and its other columns."""
    stored = _decode(answer)
    run = stored["run"]
    if run is not None:
        spans = tuple(_build(Span, span) for span in run["spans"])
        run = _build(CapturedRun, {**run, "spans": spans, "tags": tuple(run["tags"])})
    return Row(
        key=key,
        record=_build(EvalRecord, stored["record"]),
        outcome=_build(Outcome, stored["outcome"]),
        run=run,
        matched=stored["matched"],
        scores=scores,
        trace_id=trace_id,
    )


def encode_record(record: EvalRecord) -> str:
    """Encode a record alone: two records are stored alike if this is equal."""
    return _to_json(record)


def decode_record(text: str) -> EvalRecord:
    """Decode what `encode_record` returned."""
    return _build(EvalRecord, _decode(text))


def encode_scorer_output(output: ScorerOutput) -> str:
    """Encode what one scorer returned for a row."""
    assessments = [item for item in output if isinstance(item, Assessment)]
    skips = [item for item in output if isinstance(item, Skip)]
    return _to_json({"assessments": assessments, "skips": skips})


def decode_scorer_output(text: str) -> ScorerOutput:
    """Decode what `encode_scorer_output` returned: the assessments, then the skips."""
    stored = _decode(text)
    output: list[Assessment | Skip] = []
    for item in stored["assessments"]:
        usage = item["usage"] and _build(JudgeUsage, item["usage"])
        output.append(_build(Assessment, {**item, "usage": usage}))
    return output + [_build(Skip, item) for item in stored["skips"]]


def round_trip(value: Any) -> Any:
    """Return a value of the user as a journal returns it.

    Scorers receive this form, so that a row is scored alike before and after a crash.
    """
    if value is None or isinstance(value, float | bool):
        return value
    text = _to_json(value)
    if isinstance(value, BaseMessage) and "<U+" not in text:
        return value  # It may be of a class of the user.
    return _decode(text)


def _fields(type_: type[Any], value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in _NAMES[type_]}


def _build(type_: type[_T], stored: Mapping[str, Any]) -> _T:
    return type_(**{name: stored[name] for name in _NAMES[type_]})


def _to_json(value: Any) -> str:
    try:
        text = _encoder.encode(value)
    except (TypeError, ValueError, RecursionError):
        # Keys that are not strings, an integer that is too long, or a value that contains itself.
        text = ""
    if not text or _is_deep(text):
        text = _encoder.encode(_normalize(value, 0))
    return _replace_refused(text)


def _decode(text: str) -> Any:
    return _decoder.decode(_replace_refused(text))


def _replace_refused(text: str) -> str:
    """Replace the escapes of characters that stores refuse, in JSON that consists of ASCII."""
    return text if _REFUSED.search(text) is None else _ESCAPE.sub(_mark, text)


def _mark(escape: re.Match[str]) -> str:
    code = (escape[1] or "").upper()
    return f"\\ufffd<U+{code}>" if code == "0000" or "D800" <= code <= "DFFF" else escape[0]


def _is_deep(text: str) -> bool:
    if text.count("[") + text.count("{") <= _MAX_JSON_DEPTH:
        return False
    brackets = re.sub(r"[^\[{}\]]+", "", _STRING.sub("", text))
    return max(accumulate(1 if b in "[{" else -1 for b in brackets)) > _MAX_JSON_DEPTH


def _default(value: Any) -> Any:
    """Return JSON for an object that has none; called by `json`."""
    if isinstance(value, BaseMessage):
        return {_KIND: "message", "value": messages_to_dict([value])[0]}
    if isinstance(value, Document):
        return {_KIND: "document", "value": value.model_dump(exclude_none=True)}
    # By the class itself: a user may have a dataclass with the same name.
    if type(value) in _NAMES:
        return _fields(type(value), value)
    if isinstance(value, UUID):
        return {_KIND: "uuid", "value": str(value)}
    if isinstance(value, date):
        kind = "datetime" if isinstance(value, datetime) else "date"
        return {_KIND: kind, "value": value.isoformat()}
    try:
        return _plain(value)
    except Exception:
        # The object's own code failed: store the row all the same.
        return f"<{type(value).__module__}.{type(value).__qualname__}, which cannot be shown>"


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        try:
            return value.model_dump(mode="json")
        except PydanticSerializationError:  # a field of a type that pydantic cannot serialize
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


def _normalize(value: Any, depth: int) -> Any:
    if isinstance(value, int) and value.bit_length() > _MAX_INTEGER_BITS:
        return hex(value)
    if isinstance(value, str | int | float | bool | None):
        return value
    if depth > _MAX_DEPTH:
        return _short_text(value)
    if isinstance(value, dict):
        return {
            key if isinstance(key, str) else _short_text(key): _normalize(item, depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_normalize(item, depth + 1) for item in value]
    return _normalize(_default(value), depth + 1)


def _short_text(value: Any) -> str:
    try:
        return str(value)[:200]
    except Exception:  # the object's own code, or a value that is too deep
        return f"<{type(value).__module__}.{type(value).__qualname__}, which cannot be shown>"


_READERS: dict[str, Callable[[Any], Any]] = {
    "message": lambda value: messages_from_dict([value])[0],
    "document": lambda value: Document(**value),
    "uuid": UUID,
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
}


def _revive(value: dict[str, Any]) -> Any:
    if _KIND not in value or len(value) != 2 or "value" not in value:
        return value
    try:
        return _READERS[value[_KIND]](value["value"])
    except Exception:
        # A value of the user with this key, or of a class that this process does not have.
        return value


_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"')
# Half of a surrogate pair, or NUL. A backslash that is itself escaped is found too: `_ESCAPE` reads
# the escapes in order.
_HIGH, _LOW = "[dD][89abAB]", "[dD][c-fC-F]"
_REFUSED = re.compile(rf"\\u(?:0000|{_HIGH}..(?!\\u{_LOW})|(?<!\\u{_HIGH}..\\u){_LOW})")
_ESCAPE = re.compile(rf"\\(?:u{_HIGH}..\\u{_LOW}..|u(....)|.)")

# `json.dumps` and `json.loads` would build these for each value.
_encoder = json.JSONEncoder(default=_default)
_decoder = json.JSONDecoder(object_hook=_revive)
