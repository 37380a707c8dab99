"""What a judge is shown of a row, by name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from langchain_dbx_eval.scoring.context import ScoringContext
from langchain_dbx_eval.scoring.judges.prompt import JudgeInputs

__all__ = ["MATERIAL", "GatheredInputs", "gather"]


@dataclass(frozen=True)
class GatheredInputs:
    """What a row has of what a judge needs.

    Attributes:
        inputs: What it has, by name.
        lacking: What it lacks, in words; empty where it has everything.
    """

    inputs: JudgeInputs
    lacking: str = ""


def _expected(context: ScoringContext) -> JudgeInputs:
    """The expected facts; where there are none, the expected response."""
    if context.record.expected_facts:
        return {"expected_facts": context.record.expected_facts}
    return _named("expected_response", context.record.expected_response)


def _named(name: str, value: str | list[str] | None) -> JudgeInputs:
    # An empty answer is an answer, and a bad one: a judge has to see it.
    return {} if value is None or value == [] else {name: value}


_FINDERS = {
    "request": lambda context: _named("request", context.request_text),
    "response": lambda context: _named("response", context.response_text),
    "retrieved_context": lambda context: _named("retrieved_context", context.retrieved_texts),
    "expected_facts": lambda context: _named("expected_facts", context.record.expected_facts),
    "expected_response": lambda context: _named(
        "expected_response", context.record.expected_response
    ),
    "expected_facts or expected_response": _expected,
}

MATERIAL = tuple(name for name in _FINDERS if " " not in name)
"""What a prompt-template judge may ask for, as ``{request}`` and the like."""


def gather(context: ScoringContext, needs: Iterable[str]) -> GatheredInputs:
    """Find what a judge needs in a row.

    Args:
        context: The row.
        needs: The names of what it needs.
    """
    found: dict[str, str | list[str]] = {}
    lacking: list[str] = []
    for need in needs:
        part = _FINDERS[need](context)
        found.update(part)  # type: ignore[arg-type]
        if not part:
            lacking.append(need)
    return GatheredInputs(found, " and ".join(lacking))
