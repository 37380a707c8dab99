"""The parameters of a request that offers tools to the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from langchain_dbx_eval.errors import ConfigurationError

__all__ = ["Tool", "ToolChoice", "tool_params"]

Tool = dict[str, Any] | type | Callable[..., Any] | BaseTool
ToolChoice = dict[str, Any] | str | bool | None

_KEYWORDS = {"auto": "auto", "none": "none", "required": "required", "any": "required"}


def tool_params(
    tools: Sequence[Tool], *, choice: ToolChoice, strict: bool | None, parallel: bool | None
) -> dict[str, Any]:
    """Return the parameters of a request that offers tools.

    Args:
        tools: Functions, tools, pydantic classes, or OpenAI's own format.
        choice: Which tool to call: a keyword of OpenAI, True for any, a name, or OpenAI's own
            format.
        strict: Whether the arguments must match the tool's schema exactly.
        parallel: Whether the model may call several tools at once.

    Returns:
        ``tools``, and, if given, ``tool_choice`` and ``parallel_tool_calls``.

    Raises:
        ConfigurationError: `choice` names no tool in `tools`.
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
        if (choice.get("function") or {}).get("name") in (None, *names):
            return choice
    elif choice in names:
        return {"type": "function", "function": {"name": choice}}
    elif choice in _KEYWORDS:
        return _KEYWORDS[choice]
    msg = (
        f"tool_choice={choice!r} names no bound tool. Choose one of {names}, {sorted(_KEYWORDS)} "
        "or True."
    )
    raise ConfigurationError(msg)
