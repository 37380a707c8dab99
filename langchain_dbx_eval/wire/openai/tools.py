"""Tools, and which of them the model must call, as parameters of a request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from langchain_dbx_eval.errors import ConfigurationError

__all__ = ["Tool", "ToolChoice", "bound_tools"]

Tool = dict[str, Any] | type | Callable[..., Any] | BaseTool
ToolChoice = dict[str, Any] | str | bool | None

_WORDS = {"auto": "auto", "none": "none", "required": "required", "any": "required"}


def bound_tools(
    tools: Sequence[Tool], *, choice: ToolChoice, strict: bool | None, parallel: bool | None
) -> dict[str, Any]:
    """Make the parameters of a request that offers tools.

    Args:
        tools: Functions, tools, pydantic classes, or OpenAI's own form.
        choice: Which to call: a word of OpenAI's, True for any, a name, or OpenAI's own form.
        strict: Whether the arguments must fit the tool's schema exactly.
        parallel: Whether several may be called at once.

    Raises:
        ConfigurationError: `choice` names no tool that is offered.
    """
    offered = [convert_to_openai_tool(tool, strict=strict) for tool in tools]
    params: dict[str, Any] = {"tools": offered}
    if choice:
        params["tool_choice"] = _tool_choice(choice, offered)
    if parallel is not None:
        params["parallel_tool_calls"] = parallel
    return params


def _tool_choice(
    choice: dict[str, Any] | str | bool, offered: list[dict[str, Any]]
) -> dict[str, Any] | str:
    if choice is True:
        return "required"
    names = [tool["function"]["name"] for tool in offered if "function" in tool]
    if isinstance(choice, dict):
        name = (choice.get("function") or {}).get("name")
        if name is None or name in names:
            return choice
    else:
        name = choice
        if name in _WORDS and name not in names:
            return _WORDS[str(name)]
        if name in names:
            return {"type": "function", "function": {"name": name}}
    msg = (
        f"tool_choice={choice!r} names no tool that is bound. Bound are {names}; beside their "
        f"names there are {sorted(_WORDS)} and True."
    )
    raise ConfigurationError(msg)
