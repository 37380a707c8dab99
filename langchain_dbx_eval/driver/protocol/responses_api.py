"""OpenAI's Responses API: requests, which become chat completions.

Source: OpenAI's API reference. Nothing is stored: a conversation is sent as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag, with_config
from typing_extensions import NotRequired, TypedDict

from langchain_dbx_eval.driver.engines.parameters import LENGTH_NAMES
from langchain_dbx_eval.driver.errors import invalid
from langchain_dbx_eval.driver.protocol.chat_messages import MAX_MESSAGES, Role
from langchain_dbx_eval.driver.protocol.chat_options import CHAT_OPTIONS, MAX_TOOLS
from langchain_dbx_eval.driver.protocol.openai import ChatCompletionFormat
from langchain_dbx_eval.driver.protocol.prompt import ParameterizedFormat
from langchain_dbx_eval.driver.protocol.requests import Capabilities, ParsedGeneration
from langchain_dbx_eval.driver.protocol.validation import (
    Expected,
    RequestModel,
    Unlisted,
    Unsupported,
)

__all__ = ["ResponsesFormat"]

_OPEN = ConfigDict(strict=True, extra="allow")
_Flag = Annotated[bool | None, Expected("true, false or null")]
_Ignored = Annotated[Any, Unlisted()]
_TEXT_TYPES = ("input_text", "output_text", "text")
_ECHOED = (
    "instructions", "max_output_tokens", "metadata", "parallel_tool_calls", "temperature", "text",
    "tool_choice", "tools", "top_p",
)  # fmt: skip
"""Fields of the request that the response repeats."""


# Tags of union members are written in angle brackets: error messages omit those from paths.


def _item_tag(item: object) -> str:
    kind = item.get("type") if isinstance(item, dict) else None
    if kind == "function_call":
        return "<call>"
    return "<result>" if kind == "function_call_output" else "<message>"


def _part_tag(part: object) -> str:
    return "<image>" if isinstance(part, dict) and part.get("type") == "input_image" else "<text>"


def _content_tag(content: object) -> str | None:
    if isinstance(content, str):
        return "<string>"
    return "<parts>" if isinstance(content, list) else None


@with_config(_OPEN)
class ResponsesTextPart(TypedDict):
    """A part of a message that contains text."""

    type: Literal["input_text", "output_text", "text"]
    text: str


@with_config(_OPEN)
class ResponsesImagePart(TypedDict):
    """An image by its URL."""

    type: Literal["input_image"]
    image_url: str


_Part = Annotated[
    Annotated[ResponsesTextPart, Tag("<text>")] | Annotated[ResponsesImagePart, Tag("<image>")],
    Discriminator(_part_tag),
]
_Content = Annotated[
    Annotated[str, Tag("<string>")] | Annotated[list[_Part], Tag("<parts>")],
    Discriminator(
        _content_tag,
        custom_error_type="expected",
        custom_error_message="a string or a list of content parts",
    ),
]


@with_config(_OPEN)
class ResponsesMessage(TypedDict):
    """A message."""

    type: NotRequired[Literal["message"]]
    role: Role
    content: _Content


@with_config(_OPEN)
class ResponsesFunctionCall(TypedDict):
    """A tool call of the model."""

    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str


@with_config(_OPEN)
class ResponsesFunctionResult(TypedDict):
    """The result of a tool call."""

    type: Literal["function_call_output"]
    call_id: str
    output: _Content


@with_config(_OPEN)
class ResponsesFunctionTool(TypedDict):
    """A function that the model may call."""

    type: Literal["function"]
    name: Annotated[str, Field(min_length=1)]
    description: NotRequired[str | None]
    parameters: NotRequired[dict[str, Any] | None]
    strict: NotRequired[bool | None]


@with_config(_OPEN)
class ResponsesToolChoice(TypedDict):
    """The function that the model must call."""

    type: Literal["function"]
    name: str


@with_config(_OPEN)
class ResponsesTextFormat(TypedDict):
    """The format of the text; a JSON schema is in ``schema``."""

    type: Literal["text", "json_object", "json_schema"]
    schema: NotRequired[dict[str, Any]]


class ResponsesText(RequestModel):
    """Options of the text."""

    format: ResponsesTextFormat | None = None
    verbosity: Annotated[Literal["medium"] | None, Expected("'medium' or null")] = None


_Item = Annotated[
    Annotated[ResponsesMessage, Tag("<message>")]
    | Annotated[ResponsesFunctionCall, Tag("<call>")]
    | Annotated[ResponsesFunctionResult, Tag("<result>")],
    Discriminator(_item_tag),
]


class ResponsesRequest(RequestModel):
    """``POST /v1/responses``."""

    input: Annotated[
        Annotated[str, Tag("<string>")]
        | Annotated[list[_Item], Field(min_length=1, max_length=MAX_MESSAGES), Tag("<parts>")],
        Discriminator(
            _content_tag,
            custom_error_type="expected",
            custom_error_message="a string or a list of items",
        ),
    ] = Field(description="the conversation so far")
    model: Annotated[str | None, Expected("a string or null")] = None
    instructions: Annotated[str | None, Expected("a string or null")] = None
    max_output_tokens: Annotated[
        int | None, Field(ge=1, le=1_000_000), Expected("a whole number from 1 to 1000000")
    ] = None
    parallel_tool_calls: _Flag = None
    stream: _Flag = None
    text: ResponsesText | None = None
    tool_choice: Annotated[
        Literal["none", "auto", "required"] | ResponsesToolChoice | None,
        Expected("'none', 'auto', 'required', null, or {\"type\": \"function\", \"name\": …}"),
    ] = None
    tools: Annotated[list[ResponsesFunctionTool], Field(max_length=MAX_TOOLS)] | None = None

    # They describe the caller, or what happens after the response.
    metadata: _Ignored = None
    prompt_cache_key: _Ignored = None
    safety_identifier: _Ignored = None
    store: _Ignored = None
    stream_options: _Ignored = None
    user: _Ignored = None

    background: Annotated[Literal[False] | None, Unsupported()] = None
    include: Annotated[list[Any] | None, Field(max_length=0), Unsupported()] = None
    previous_response_id: Annotated[None, Unsupported()] = None
    reasoning: Annotated[dict[str, Any] | None, Field(max_length=0), Unsupported()] = None
    service_tier: Annotated[Literal["auto", "default"] | None, Unsupported()] = None
    truncation: Annotated[Literal["disabled"] | None, Unsupported()] = None


class ResponsesFormat:
    """The Responses API, for an engine that generates text.

    Args:
        capabilities: What the engine supports.
    """

    def __init__(self, capabilities: Capabilities) -> None:
        self._allowed = capabilities.parameters
        self._chat = ChatCompletionFormat(capabilities)
        # Those have other names or forms in this API.
        parameters = capabilities.parameters - CHAT_OPTIONS.keys() - set(LENGTH_NAMES)
        self._format = ParameterizedFormat(
            ResponsesRequest, replace(capabilities, parameters=parameters)
        )
        self.models = self._format.models

    def parse(self, body: Mapping[str, Any]) -> ParsedGeneration:
        """Parse a body.

        Raises:
            RequestError: 400, for a body that violates the format, or that requests what the
                engine does not support.
        """
        request, params = self._format.validate(body)
        chat = {
            **params,
            "model": request.model,
            "messages": _messages(request.instructions, body["input"]),
            "stream": request.stream,
            **self._options(request),
        }
        parsed = self._chat.parse({name: v for name, v in chat.items() if v is not None})
        echo = {name: body[name] for name in _ECHOED if body.get(name) is not None}
        return replace(parsed, response_format="responses", echo=echo)

    def _options(self, request: ResponsesRequest) -> dict[str, Any]:
        """Return the options of the chat completion, and name this API's field if unsupported."""
        text_format = request.text.format if request.text else None
        if text_format and text_format["type"] == "text":
            text_format = None
        choice: Any = request.tool_choice
        unsupported = {
            "max_output_tokens": request.max_output_tokens
            and self._allowed.isdisjoint(LENGTH_NAMES),
            "tools": request.tools and "tools" not in self._allowed,
            "tool_choice": choice not in (None, "none", "auto")
            and "tool_choice" not in self._allowed,
            "text.format": text_format and "response_format" not in self._allowed,
        }
        for name, refused in unsupported.items():
            if refused:
                raise invalid(f"The model of this server does not support {name!r}.")
        if isinstance(choice, dict):
            choice = {"type": "function", "function": {"name": choice["name"]}}
        return {
            "max_tokens": request.max_output_tokens,
            "parallel_tool_calls": request.parallel_tool_calls,
            "response_format": text_format and _response_format(text_format),
            "tool_choice": choice,
            "tools": [_tool(tool) for tool in request.tools or ()] or None,
        }


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    function = {name: value for name, value in tool.items() if name != "type" and value is not None}
    return {"type": "function", "function": function}


def _response_format(text_format: Mapping[str, Any]) -> dict[str, Any]:
    kind = text_format["type"]
    if kind != "json_schema":
        return {"type": kind}
    schema = {name: value for name, value in text_format.items() if name != "type"}
    return {"type": kind, kind: schema}


def _messages(instructions: str | None, items: str | Sequence[Mapping[str, Any]]) -> list[Any]:
    messages: list[dict[str, Any]] = []
    if instructions:
        messages.append({"role": "system", "content": instructions})
    if isinstance(items, str):
        return [*messages, {"role": "user", "content": items}]
    for item in items:
        kind = item.get("type", "message")
        if kind == "message":
            messages.append({"role": item["role"], "content": _content(item["content"])})
        elif kind == "function_call_output":
            content = _content(item["output"])
            message = {"role": "tool", "tool_call_id": item["call_id"], "content": content}
            messages.append(message)
        else:
            # Text and calls of one turn are one message of a chat completion.
            if not messages or messages[-1]["role"] != "assistant":
                messages.append({"role": "assistant", "content": None})
            function = {"name": item["name"], "arguments": item["arguments"]}
            call = {"id": item["call_id"], "type": "function", "function": function}
            messages[-1].setdefault("tool_calls", []).append(call)
    return messages


def _content(content: str | Sequence[Mapping[str, Any]]) -> str | list[dict[str, Any]]:
    if isinstance(content, str):
        return content
    if all(part["type"] in _TEXT_TYPES for part in content):
        return "".join(part["text"] for part in content)
    return [
        {"type": "text", "text": part["text"]}
        if part["type"] in _TEXT_TYPES
        else {"type": "image_url", "image_url": {"url": part["image_url"]}}
        for part in content
    ]
