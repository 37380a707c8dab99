"""The parameters of chat completions for tools, structured output and log probabilities.

Source: OpenAI's API reference. Types of tools and response formats that are not listed there are
passed to the engine, because servers such as vLLM have more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, with_config
from typing_extensions import NotRequired, TypedDict

from langchain_dbx_eval.driver.protocol.validation import Expected

__all__ = ["CHAT_OPTIONS", "MAX_TOOLS"]

MAX_TOOLS = 128
_MAX_LOGPROBS = 20
_OPEN = ConfigDict(strict=True, extra="allow")


@with_config(_OPEN)
class FunctionDefinition(TypedDict):
    """The function of a tool."""

    name: Annotated[str, Field(min_length=1)]
    parameters: NotRequired[dict[str, Any] | None]


@with_config(_OPEN)
class Tool(TypedDict):
    """A tool that the model may call."""

    type: str
    function: NotRequired[FunctionDefinition]


@with_config(_OPEN)
class JsonSchemaFormat(TypedDict):
    """The name and the schema of a response format."""

    schema: NotRequired[dict[str, Any]]


@with_config(_OPEN)
class OutputFormat(TypedDict):
    """A response format: ``text``, ``json_object``, ``json_schema``, or one of an upstream."""

    type: str
    json_schema: NotRequired[JsonSchemaFormat]


_Count = Annotated[int, Field(ge=0, le=_MAX_LOGPROBS)]

CHAT_OPTIONS: Mapping[str, Any] = {
    # A flag in chat completions, a number in completions.
    "logprobs": Annotated[
        bool | _Count | None,
        Expected(f"true, false, null, or a whole number from 0 to {_MAX_LOGPROBS}"),
    ],
    "parallel_tool_calls": Annotated[bool | None, Expected("true, false or null")],
    "response_format": OutputFormat | None,
    "tool_choice": Annotated[
        Literal["none", "auto", "required"] | dict[str, Any] | None,
        Expected("'none', 'auto', 'required', an object or null"),
    ],
    "top_logprobs": Annotated[
        _Count | None, Expected(f"a whole number from 0 to {_MAX_LOGPROBS} or null")
    ],
    "tools": Annotated[list[Tool], Field(max_length=MAX_TOOLS)] | None,
}
"""The type of each."""
