"""What a judge may answer: yes or no, a number, or one of some words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["Categorical", "Numeric", "Scale", "YesNo"]


class Scale(Protocol):
    """The answers that a judge may give."""

    def read(self, value: Any) -> str | float | None:
        """What a stated rating means on this scale; None where it is not on it."""
        ...

    @property
    def words(self) -> str:
        """The answers in words, for the judge's instructions."""
        ...

    @property
    def json_schema(self) -> dict[str, Any]:
        """The answers as a JSON schema."""
        ...


@dataclass(frozen=True)
class YesNo:
    """Yes or no; a JSON true or false says the same."""

    words: str = '"yes" or "no"'

    def read(self, value: Any) -> str | None:
        """See `Scale.read`."""
        if isinstance(value, bool):
            return "yes" if value else "no"
        said = value.strip().lower() if isinstance(value, str) else ""
        return said if said in {"yes", "no"} else None

    @property
    def json_schema(self) -> dict[str, Any]:
        """See `Scale.json_schema`."""
        return {"type": "string", "enum": ["yes", "no"]}


@dataclass(frozen=True)
class Numeric:
    """A number from `low` to `high`, both included."""

    low: float
    high: float

    def read(self, value: Any) -> float | None:
        """See `Scale.read`; a number written as text is a number."""
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            return None
        try:
            number = float(value)
        except (ValueError, OverflowError):
            return None
        return number if self.low <= number <= self.high else None

    @property
    def words(self) -> str:
        """See `Scale.words`."""
        return f"a number from {self.low:g} to {self.high:g}"

    @property
    def json_schema(self) -> dict[str, Any]:
        """See `Scale.json_schema`."""
        return {"type": "number", "minimum": self.low, "maximum": self.high}


@dataclass(frozen=True)
class Categorical:
    """One of some words, told apart without regard to case."""

    values: tuple[str, ...]

    def read(self, value: Any) -> str | None:
        """See `Scale.read`; the word is returned as it is written in `values`."""
        said = value.strip().lower() if isinstance(value, str) else None
        return next((known for known in self.values if known.lower() == said), None)

    @property
    def words(self) -> str:
        """See `Scale.words`."""
        return " or ".join(f'"{value}"' for value in self.values)

    @property
    def json_schema(self) -> dict[str, Any]:
        """See `Scale.json_schema`."""
        return {"type": "string", "enum": list(self.values)}
