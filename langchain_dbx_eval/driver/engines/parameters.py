"""The parameters of generation: their names, types and ranges, and what may be said besides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from langchain_dbx_eval.driver.errors import invalid

__all__ = ["LENGTH_NAMES", "PARAMETERS", "Range", "checked_parameters", "json_type"]


@dataclass(frozen=True, slots=True)
class Range:
    """The values that a parameter takes: numbers from `low` to `high`, both included."""

    low: float
    high: float
    whole: bool = False

    def check(self, name: str, value: object) -> None:
        """Refuse a value of another type or outside the range.

        Raises:
            RequestError: 400, which names the parameter and its range.
        """
        kind = "a whole number" if self.whole else "a number"
        # bool is an int in Python, but true is no temperature.
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise invalid(f"{name!r} must be {kind}, not {json_type(value)}.")
        if self.whole and not isinstance(value, int):
            raise invalid(f"{name!r} must be {kind}.")
        if not self.low <= value <= self.high:
            raise invalid(f"{name!r} must be from {_number(self.low)} to {_number(self.high)}.")


_LENGTH = Range(1, 1_000_000, whole=True)

LENGTH_NAMES = ("max_tokens", "max_new_tokens", "max_completion_tokens")
"""Three names of one thing: OpenAI's old one, transformers', OpenAI's new one."""

PARAMETERS: Mapping[str, Range] = {
    **dict.fromkeys(LENGTH_NAMES, _LENGTH),
    "frequency_penalty": Range(-2, 2),
    "min_p": Range(0, 1),
    "presence_penalty": Range(-2, 2),
    "repetition_penalty": Range(0.01, 10),
    "seed": Range(-(2**63), 2**63 - 1, whole=True),
    "temperature": Range(0, 2),
    "top_k": Range(-1, 1_000_000, whole=True),
    "top_p": Range(0, 1),
}
"""The standard ones. A parameter that only a user's function knows is passed on as it is."""


def checked_parameters(
    given: Mapping[str, Any], allowed: frozenset[str], fields: Iterable[str]
) -> dict[str, Any]:
    """Check the parameters of a request against an engine's allow-list.

    Args:
        given: What the request holds beside the API's own fields; null means: not given.
        allowed: The names that the engine takes.
        fields: The names of the API's own fields, for the message.

    Returns:
        The parameters, by names that the engine knows.

    Raises:
        RequestError: 400; the message names the parameter, and for an unknown one those allowed.
    """
    checked: dict[str, Any] = {}
    for name, value in given.items():
        known = _known_name(name, allowed)
        if known is None:
            takes = ", ".join([*fields, *sorted(allowed)])
            # A name may be as long as the body; the message is not.
            raise invalid(f"Unknown parameter {name[:80]!r}. This server takes: {takes}.")
        if value is None:
            continue
        if name in PARAMETERS:
            PARAMETERS[name].check(name, value)
        if name in LENGTH_NAMES and not checked.keys().isdisjoint(LENGTH_NAMES):
            raise invalid(f"{' and '.join(LENGTH_NAMES)} are the same: send one of them.")
        checked[known] = value
    return checked


def json_type(value: object) -> str:
    """The type of a decoded JSON value, in words for the client."""
    names = {
        bool: "a boolean",
        dict: "an object",
        list: "a list",
        str: "a string",
        type(None): "null",
    }
    return names.get(type(value), "a number")


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def _known_name(name: str, allowed: frozenset[str]) -> str | None:
    if name in LENGTH_NAMES:
        return next((known for known in (name, *LENGTH_NAMES) if known in allowed), None)
    return name if name in allowed else None
