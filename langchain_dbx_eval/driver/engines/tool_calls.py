"""Tool calls that arrive in fragments, put together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["ToolCalls"]


class ToolCalls:
    """Collects the ``tool_calls`` of the deltas of one chat stream (OpenAI's streaming format)."""

    def __init__(self) -> None:
        self._calls: dict[int, dict[str, Any]] = {}

    def add(self, fragments: Iterable[Mapping[str, Any]]) -> None:
        """Take the fragments of one event: names and ids come once, arguments in parts."""
        for position, fragment in enumerate(fragments):
            index = fragment.get("index", position)
            call = self._calls.setdefault(
                index, {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
            )
            call["id"] = fragment.get("id") or call["id"]
            function = fragment.get("function") or {}
            call["function"]["name"] += function.get("name") or ""
            call["function"]["arguments"] += function.get("arguments") or ""

    def whole(self) -> tuple[Mapping[str, Any], ...]:
        """The calls, in the order of their numbers."""
        return tuple(self._calls[index] for index in sorted(self._calls))
