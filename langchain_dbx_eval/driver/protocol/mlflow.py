"""MLflow's scoring protocol: the dataframe forms of ``POST /invocations``.

Source: MLflow, "Deploy MLflow Model as a Local Inference Server", whose server takes exactly one
of ``dataframe_records``, ``dataframe_split``, ``instances``, ``inputs``, and ``params`` beside it,
or a body of OpenAI's APIs as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_dbx_eval.driver.engines.base import GenerationRequest
from langchain_dbx_eval.driver.engines.parameters import json_type
from langchain_dbx_eval.driver.errors import invalid, malformed
from langchain_dbx_eval.driver.protocol.openai import (
    MAX_ANSWERS,
    as_object,
    parse,
    parse_chat,
    parse_completion,
    parse_embeddings,
)
from langchain_dbx_eval.driver.protocol.requests import (
    Capabilities,
    EmbeddingAsk,
    GenerationAsk,
    ParsedRequest,
)

__all__ = ["parse_invocations"]

_FORMS = ("dataframe_records", "dataframe_split", "instances", "inputs")


def parse_invocations(payload: object, takes: Capabilities) -> ParsedRequest:
    """Understand a body of ``POST /invocations``.

    Args:
        payload: The decoded JSON.
        takes: What the engine takes.

    Returns:
        One prompt or text a row, to be answered as ``{"predictions": [...]}``; or what an
        unwrapped body of OpenAI's APIs asks for.

    Raises:
        RequestError: 400, which names the row and the field.
    """
    body = as_object(payload)
    for key, understand in (
        ("messages", parse_chat),
        ("prompt", parse_completion),
        ("input", parse_embeddings),
    ):
        if key in body:
            return understand(body, takes)
    forms = [form for form in _FORMS if form in body]
    if len(forms) != 1:
        raise malformed(f"The body must hold exactly one of: {', '.join(_FORMS)}.")
    (form,) = forms
    _refuse_others(body, form)
    rows = _rows(form, body[form])
    if not 1 <= len(rows) <= MAX_ANSWERS:
        raise invalid(f"{form!r} must hold from 1 to {MAX_ANSWERS} rows, not {len(rows)}.")
    params = _params(body.get("params"))
    if not takes.generates:
        if params:
            raise invalid("'params': the model of this server takes none.")
        texts = tuple(_text(row, f"{form}[{n}]") for n, row in enumerate(rows))
        return EmbeddingAsk(texts, predictions=True)
    return GenerationAsk(
        "predictions",
        tuple(_request(row, f"{form}[{n}]", params, takes) for n, row in enumerate(rows)),
    )


def _refuse_others(body: Mapping[str, Any], form: str) -> None:
    for name in body:
        if name not in (form, "params"):
            raise invalid(f"Unknown field {name[:80]!r} beside {form!r}: there is only 'params'.")


def _params(value: object) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise invalid(f"'params' must be an object, not {json_type(value)}.")
    return value


def _rows(form: str, value: object) -> list[Any]:
    if form == "dataframe_split":
        return _split_rows(value)
    if form == "inputs" and isinstance(value, dict):
        return _column_rows(value)
    if form == "inputs" and isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise invalid(f"{form!r} must be a list of rows, not {json_type(value)}.")
    return value


def _split_rows(value: object) -> list[Any]:
    if not isinstance(value, dict) or not value.keys() <= {"columns", "data", "index"}:
        raise invalid("'dataframe_split' must be an object of 'columns' and 'data'.")
    columns, data = value.get("columns"), value.get("data")
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        raise invalid("'dataframe_split.columns' must be a list of names.")
    if len(set(columns)) < len(columns):
        raise invalid("'dataframe_split.columns' names a column twice.")
    if not isinstance(data, list):
        raise invalid("'dataframe_split.data' must be a list of rows.")
    for number, row in enumerate(data):
        if not isinstance(row, list) or len(row) != len(columns):
            raise invalid(f"'dataframe_split.data[{number}]' must have {len(columns)} values.")
    return [dict(zip(columns, row, strict=True)) for row in data]


def _column_rows(value: dict[str, Any]) -> list[Any]:
    columns = {
        name: column if isinstance(column, list) else [column] for name, column in value.items()
    }
    if len({len(column) for column in columns.values()}) != 1:
        raise invalid("'inputs' must hold columns of one length.")
    rows = zip(*columns.values(), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _request(
    row: object, place: str, params: dict[str, Any], takes: Capabilities
) -> GenerationRequest:
    if isinstance(row, str):
        row = {"prompt": row}
    if not isinstance(row, dict):
        raise invalid(f"{place} must be a prompt or an object with one, not {json_type(row)}.")
    if "prompt" not in row:
        raise invalid(f"{place}.prompt is missing.")
    return parse({**params, **row}, takes.parameters)


def _text(row: object, place: str) -> str:
    if isinstance(row, dict) and len(row) == 1:
        (row,) = row.values()
    if not isinstance(row, str):
        raise invalid(f"{place} must be a text, or an object with one field that is a text.")
    return row
