"""The messages of a chat completion.

Source: OpenAI's API reference. Fields that are not listed here are passed to the engine as they
are.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag, with_config
from typing_extensions import NotRequired, TypedDict

from langchain_dbx_eval.driver.engines.messages import TEXT_PARTS

__all__ = ["MAX_MESSAGES", "ChatMessage", "Role"]

MAX_MESSAGES = 1_000

Role = Literal["system", "developer", "user", "assistant", "tool"]


# Tags of union members are written in angle brackets: error messages omit those from paths.


def _part_tag(part: object) -> str:
    return "<text>" if isinstance(part, dict) and part.get("type") in TEXT_PARTS else "<other>"


def _content_tag(content: object) -> str | None:
    if isinstance(content, str):
        return "<string>"
    return "<parts>" if isinstance(content, list) else None


def _message_tag(message: object) -> str:
    if isinstance(message, dict) and message.get("content") is None and message.get("tool_calls"):
        return "<tool calls>"
    return "<content>"


# Typed dictionaries: validated in a third of the time of a BaseModel.
_OPEN = ConfigDict(strict=True, extra="allow")


@with_config(_OPEN)
class TextPart(TypedDict):
    """A part of a message that contains text."""

    type: Literal["text", "input_text"]
    text: str


@with_config(_OPEN)
class OtherPart(TypedDict):
    """A part of a message of another type, such as an image."""

    type: Annotated[str, Field(json_schema_extra={"not": {"enum": list(TEXT_PARTS)}})]


Part = Annotated[
    Annotated[TextPart, Tag("<text>")] | Annotated[OtherPart, Tag("<other>")],
    Discriminator(_part_tag),
]


@with_config(_OPEN)
class ContentMessage(TypedDict):
    """A message with content."""

    role: Role
    content: Annotated[
        Annotated[str, Tag("<string>")] | Annotated[list[Part], Tag("<parts>")],
        Discriminator(
            _content_tag,
            custom_error_type="expected",
            custom_error_message="a string or a list of content parts",
        ),
    ]
    tool_calls: NotRequired[list[dict[str, Any]] | None]


@with_config(_OPEN)
class ToolCallMessage(TypedDict):
    """A message of the assistant that calls tools and has no content."""

    role: Role
    content: NotRequired[None]
    tool_calls: Annotated[list[dict[str, Any]], Field(min_length=1)]


ChatMessage = Annotated[
    Annotated[ContentMessage, Tag("<content>")] | Annotated[ToolCallMessage, Tag("<tool calls>")],
    Discriminator(_message_tag),
]
