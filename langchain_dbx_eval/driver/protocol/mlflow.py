"""MLflow's scoring protocol: the dataframe forms of ``POST /invocations``.

Source: MLflow, "Deploy MLflow Model as a Local Inference Server". Its server accepts exactly one
of ``dataframe_records``, ``dataframe_split``, ``instances`` and ``inputs``, optionally with
``params``; or a body of OpenAI's APIs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, Field, SkipValidation, create_model

from langchain_dbx_eval.driver.errors import invalid, malformed
from langchain_dbx_eval.driver.protocol.openai import MAX_CHOICES
from langchain_dbx_eval.driver.protocol.prompt import (
    ParameterizedFormat,
    PromptFormat,
    RowParameters,
    without_logprobs,
)
from langchain_dbx_eval.driver.protocol.requests import (
    Capabilities,
    ParsedEmbedding,
    ParsedGeneration,
    ParsedRequest,
)
from langchain_dbx_eval.driver.protocol.validation import (
    Expected,
    RequestModel,
    json_type,
    validate,
)

__all__ = ["DataframeFormat", "DataframeSplit"]

_TextColumn = Annotated[dict[str, str], Field(min_length=1, max_length=1)]
_Columns = Annotated[dict[str, Any], Field(min_length=1)]
_NoParams = Annotated[
    dict[str, Any],
    Field(max_length=0),
    Expected("empty: the model of this server has no parameters"),
]


class DataframeSplit(RequestModel):
    """A dataframe in pandas' ``split`` orientation."""

    columns: list[str] = Field(
        json_schema_extra={"uniqueItems": True}, description="the names of the columns"
    )
    data: list[list[Any]] = Field(description="the rows")
    index: Any = None


class DataframeFormat:
    """The dataframe forms: one prompt per row, or one text per row for an engine that only embeds.

    Args:
        capabilities: What the engine supports.
        prompt: The format of a row; None if the engine only embeds.
    """

    def __init__(self, capabilities: Capabilities, prompt: PromptFormat | None) -> None:
        self._prompt = prompt
        self._params = ParameterizedFormat(RowParameters, without_logprobs(capabilities)).model
        params = _unchecked(self._params) if prompt else _NoParams
        row = _unchecked(str | (prompt.models[0] if prompt else _TextColumn))
        rows = Annotated[list[row], Field(min_length=1, max_length=MAX_CHOICES)]  # type: ignore[valid-type]
        forms: dict[str, Any] = {
            "dataframe_records": rows,
            "dataframe_split": DataframeSplit,
            "instances": rows,
            "inputs": Annotated[
                str | rows | _Columns,
                Expected(f"a string, an object of columns, or a list of 1 to {MAX_CHOICES} rows"),
            ],
        }
        self._forms: dict[str, type[BaseModel]] = {
            form: create_model(
                f"{form.title().replace('_', '')}Request",
                __base__=RequestModel,
                **{form: annotation, "params": (params | None, None)},
            )
            for form, annotation in forms.items()
        }
        self.models = tuple(self._forms.values())

    def parse(self, body: Mapping[str, Any]) -> ParsedRequest:
        """Parse a body.

        Raises:
            RequestError: 400; the message names the row and the field.
        """
        forms = [form for form in self._forms if form in body]
        if len(forms) != 1:
            raise malformed(f"The body must have exactly one of: {', '.join(self._forms)}.")
        (form,) = forms
        validate(self._forms[form], body)
        rows = _rows(form, body[form])
        if not 1 <= len(rows) <= MAX_CHOICES:
            raise invalid(f"'{form}' must have from 1 to {MAX_CHOICES} rows, not {len(rows)}.")
        by_path = {f"{form}[{index}]": row for index, row in enumerate(rows)}
        if self._prompt is None:
            texts = tuple(_text(row, path) for path, row in by_path.items())
            return ParsedEmbedding(texts, predictions=True)
        params = body.get("params")
        if params is None:
            params = {}
        validate(self._params, params, "params")
        prompts = tuple(
            self._prompt.parse_prompt({**params, **_prompt_object(row, path)}, path)
            for path, row in by_path.items()
        )
        return ParsedGeneration("predictions", prompts)


def _unchecked(annotation: Any) -> Any:
    """Describe a type without validating it: `parse` does, for messages with the position."""
    return SkipValidation[annotation]  # type: ignore[misc] # a type only at runtime


def _rows(form: str, value: Any) -> list[Any]:
    if form == "dataframe_split":
        return _split_rows(value["columns"], value["data"])
    if isinstance(value, dict):
        return _column_rows(value)
    return [value] if isinstance(value, str) else value


def _split_rows(columns: list[str], data: list[list[Any]]) -> list[Any]:
    if len(set(columns)) < len(columns):
        raise invalid("'dataframe_split.columns' must not name a column twice.")
    for index, row in enumerate(data):
        if len(row) != len(columns):
            raise invalid(f"'dataframe_split.data[{index}]' must have {len(columns)} values.")
    return [dict(zip(columns, row, strict=True)) for row in data]


def _column_rows(value: dict[str, Any]) -> list[Any]:
    columns = [column if isinstance(column, list) else [column] for column in value.values()]
    if len({len(column) for column in columns}) != 1:
        raise invalid("'inputs' must have columns of the same length.")
    return [dict(zip(value, row, strict=True)) for row in zip(*columns, strict=True)]


def _prompt_object(row: object, path: str) -> dict[str, Any]:
    if isinstance(row, str):
        return {"prompt": row}
    if not isinstance(row, dict):
        raise invalid(f"'{path}' must be a string or an object, not {json_type(row)}.")
    if "prompt" not in row:
        raise invalid(f"'{path}.prompt' is missing: send the text to complete.")
    return row


def _text(row: object, path: str) -> str:
    if isinstance(row, dict) and len(row) == 1:
        (row,) = row.values()
    if not isinstance(row, str):
        raise invalid(f"'{path}' must be a string, or an object with one field that is a string.")
    return row
