"""Structured output: an object of a schema, by one of the three methods of chat endpoints."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

from langchain_core.language_models import LanguageModelInput
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.output_parsers import BaseOutputParser, JsonOutputParser, PydanticOutputParser
from langchain_core.output_parsers.openai_tools import JsonOutputKeyToolsParser, PydanticToolsParser
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass

from langchain_dbx_eval.errors import ConfigurationError

__all__ = ["structured_output"]

_METHODS = ("function_calling", "json_mode", "json_schema")


def structured_output(
    model: BaseChatModel,
    schema: Any,
    *,
    method: str,
    include_raw: bool,
    strict: bool | None,
    params: dict[str, Any],
) -> Runnable[LanguageModelInput, Any]:
    """Return a Runnable for structured output; see `ChatDatabricks.with_structured_output`.

    Args:
        model: The chat model.
        schema: A pydantic class, a TypedDict, a JSON schema, or None for any JSON.
        method: ``"function_calling"``, ``"json_mode"`` or ``"json_schema"``.
        include_raw: Whether to return the message and a parsing error too.
        strict: Whether the output must match the schema exactly; default: for ``"json_schema"``.
        params: Further parameters of each request.

    Raises:
        ConfigurationError: The method is unknown, or its schema is missing.
    """
    if method not in _METHODS:
        msg = f"method={method!r} is unknown. Supported: {', '.join(_METHODS)}."
        raise ConfigurationError(msg)
    if schema is None and method != "json_mode":
        msg = f"method={method!r} needs a schema: a pydantic class, a TypedDict or a JSON schema."
        raise ConfigurationError(msg)
    tracing: dict[str, Any] = {"kwargs": {"method": method}}
    # langchain-core 1.7 requires a schema here, also if there is none.
    tracing["schema"] = None if schema is None else convert_to_openai_tool(schema)
    params = {**params, "ls_structured_output_format": tracing}
    bound: Runnable[LanguageModelInput, Any]
    if method == "function_calling":
        name = tracing["schema"]["function"]["name"]
        bound = model.bind_tools([schema], tool_choice=name, strict=strict, **params)
    else:
        bound = model.bind(response_format=_response_format(schema, method, strict), **params)
    parser = _parser(schema, method)
    if not include_raw:
        return bound | parser
    raw: Runnable[LanguageModelInput, Any] = RunnableMap(raw=bound)
    parsed: Runnable[Any, Any] = RunnablePassthrough.assign(
        parsed=itemgetter("raw") | parser, parsing_error=lambda _: None
    )
    unparsed = RunnablePassthrough.assign(parsed=lambda _: None)
    return raw | parsed.with_fallbacks([unparsed], exception_key="parsing_error")


def _response_format(schema: Any, method: str, strict: bool | None) -> dict[str, Any]:
    if method == "json_mode":
        return {"type": "json_object"}
    # Strict by default, as in databricks-langchain 0.22: the model cannot omit or add a property.
    strict = strict is not False
    function = convert_to_openai_tool(schema, strict=strict)["function"]
    json_schema: dict[str, Any] = {"name": function["name"], "schema": function["parameters"]}
    if function.get("description"):
        json_schema["description"] = function["description"]
    return {"type": "json_schema", "json_schema": {**json_schema, "strict": strict}}


def _parser(schema: Any, method: str) -> BaseOutputParser[Any]:
    is_pydantic = isinstance(schema, type) and is_basemodel_subclass(schema)
    if method != "function_calling":
        return PydanticOutputParser(pydantic_object=schema) if is_pydantic else JsonOutputParser()
    if is_pydantic:
        return PydanticToolsParser(tools=[schema], first_tool_only=True)
    name = convert_to_openai_tool(schema)["function"]["name"]
    return JsonOutputKeyToolsParser(key_name=name, first_tool_only=True)
