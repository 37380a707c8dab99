"""The ratings that a judge may give: yes or no, a number, or a category."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["Categorical", "Numeric", "Scale", "YesNo"]


class Scale(Protocol):
    """A set of allowed ratings."""

    def parse(self, value: Any) -> str | float | None:
        """Return the rating that a JSON value states; None if it is not on this scale."""
        ...

    @property
    def description(self) -> str:
        """The ratings in words, for the judge's prompt."""
        ...

    @property
    def json_schema(self) -> dict[str, Any]:
        """The ratings as a JSON schema."""
        ...


@dataclass(frozen=True)
class YesNo:
    """A rating scale with the values ``"yes"`` and ``"no"``; a JSON boolean is accepted too."""

    description = '"yes" or "no"'

    def parse(self, value: Any) -> str | None:
        """See `Scale.parse`."""
        if isinstance(value, bool):
            return "yes" if value else "no"
        text = value.strip().lower() if isinstance(value, str) else ""
        return text if text in {"yes", "no"} else None

    @property
    def json_schema(self) -> dict[str, Any]:
        """See `Scale.json_schema`."""
        return {"type": "string", "enum": ["yes", "no"]}


@dataclass(frozen=True)
class Numeric:
    """A number from `low` to `high`, both included."""

    low: float
    high: float

    def parse(self, value: Any) -> float | None:
        """See `Scale.parse`; a string that contains a number is accepted too."""
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            return None
        try:
            number = float(value)
        except (ValueError, OverflowError):
            return None
        return number if self.low <= number <= self.high else None

    @property
    def description(self) -> str:
        """See `Scale.description`."""
        return f"a number from {self.low:g} to {self.high:g}"

    @property
    def json_schema(self) -> dict[str, Any]:
        """See `Scale.json_schema`."""
        return {"type": "number", "minimum": self.low, "maximum": self.high}


@dataclass(frozen=True)
class Categorical:
    """One of `values`, compared case-insensitively."""

    values: tuple[str, ...]

    def parse(self, value: Any) -> str | None:
        """See `Scale.parse`; the rating is spelled as in `values`."""
        text = value.strip().lower() if isinstance(value, str) else None
        return next((known for known in self.values if known.lower() == text), None)

    @property
    def description(self) -> str:
        """See `Scale.description`."""
        return " or ".join(f'"{value}"' for value in self.values)

    @property
    def json_schema(self) -> dict[str, Any]:
        """See `Scale.json_schema`."""
        return {"type": "string", "enum": list(self.values)}
