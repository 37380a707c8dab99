"""The standard generation parameters: names, types and ranges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["LENGTH_NAMES", "NO_EFFECT", "PARAMETERS", "Range"]


@dataclass(frozen=True, slots=True)
class Range:
    """The values of a parameter: numbers from `low` to `high`, both included."""

    low: float
    high: float
    integer: bool = False


LENGTH_NAMES = ("max_tokens", "max_new_tokens", "max_completion_tokens")
"""Three names of the same parameter: OpenAI's old name, transformers' name, OpenAI's new name."""

PARAMETERS: Mapping[str, Range] = {
    **dict.fromkeys(LENGTH_NAMES, Range(1, 1_000_000, integer=True)),
    "frequency_penalty": Range(-2, 2),
    "min_p": Range(0, 1),
    "presence_penalty": Range(-2, 2),
    "repetition_penalty": Range(0.01, 10),
    "seed": Range(-(2**63), 2**63 - 1, integer=True),
    "temperature": Range(0, 2),
    "top_k": Range(-1, 1_000_000, integer=True),
    "top_p": Range(0, 1),
}
"""The standard parameters. A parameter that only a user's function has may be any JSON value."""

NO_EFFECT: Mapping[str, tuple[float, ...]] = {
    "frequency_penalty": (0,),
    "min_p": (0,),
    "n": (1,),
    "presence_penalty": (0,),
    "repetition_penalty": (1,),
    # OpenAI's default, and that of LangChain's Databricks
    "temperature": (1, 0),
    "top_k": (0, -1),
    "top_p": (1,),
}
"""Values that clients send by default, and that request nothing from a model without the
parameter: langchain-openai's `OpenAI` sends four of them, LangChain's `Databricks` two."""
