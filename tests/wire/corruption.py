"""JSON with one corrupted value, for hypothesis."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st


def corrupt(draw: st.DrawFn, json: st.SearchStrategy[Any], value: Any) -> Any:
    """Return a copy of a value in which one part is replaced by any JSON."""
    if isinstance(value, dict | list) and value and draw(st.integers(0, 4)):
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = draw(st.sampled_from(keys))
        copy: Any = value.copy()
        copy[key] = corrupt(draw, json, value[key])
        return copy
    return draw(json)


def corrupt_one(draw: st.DrawFn, json: st.SearchStrategy[Any], values: list[Any]) -> list[Any]:
    """Return the values with one of them corrupted."""
    chosen = draw(st.integers(0, len(values) - 1))
    return [*values[:chosen], corrupt(draw, json, values[chosen]), *values[chosen + 1 :]]
