"""The inputs that a judge model is shown, read from a row by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from langchain_dbx_eval.datasets.record import parse_json
from langchain_dbx_eval.scoring.context import ScoringContext
from langchain_dbx_eval.scoring.conversation import conversation_text

__all__ = [
    "EXPECTED",
    "PROMPT_VARIABLES",
    "Guidelines",
    "JudgeInputs",
    "gather_inputs",
    "guideline_groups",
]

JudgeInputs: TypeAlias = Mapping[str, str | Sequence[str]]
"""Inputs by name: one text or several."""

Guidelines: TypeAlias = Mapping[str, Sequence[str]]
"""Guidelines by the name of their group; the name of an unnamed group is empty."""

PROMPT_VARIABLES = (
    "request",
    "response",
    "retrieved_context",
    "expected_facts",
    "expected_response",
)
"""Inputs that the instructions of a `PromptJudge` may name."""

EXPECTED = "expected_facts or expected_response"
"""The expected facts; if there are none, the expected response, else the grading notes."""


def gather_inputs(
    context: ScoringContext, names: Iterable[str], optional: Iterable[str] = ()
) -> tuple[dict[str, Any], str]:
    """Read inputs from a row.

    Args:
        context: The row.
        names: Names of `PROMPT_VARIABLES`, ``guidelines``, ``guidelines_context`` or `EXPECTED`.
        optional: Names of further inputs, which are not missing if the row lacks them.

    Returns:
        The inputs that the row has: a text, several texts, or (``guidelines``) texts by group; and
        the names of the missing ones, joined by "and".
    """
    inputs: dict[str, Any] = {}
    missing = []
    required = tuple(names)
    for name in (*required, *optional):
        # An empty text is an input. Of an empty response, see `JudgeScorer.score`.
        found = {k: v for k, v in _READERS[name](context).items() if v not in (None, [], {})}
        inputs |= found
        if not found and name in required:
            missing.append(name)
    return inputs, " and ".join(missing)


def guideline_groups(guidelines: Guidelines | Sequence[str] | None) -> Guidelines:
    """Return the non-empty groups of guidelines; a list is one unnamed group."""
    groups = guidelines if isinstance(guidelines, Mapping) else {"": guidelines or ()}
    return {str(name): list(rules) for name, rules in groups.items() if rules}


def _expected(context: ScoringContext) -> dict[str, Any]:
    record = context.record
    if record.expected_facts:
        return {"expected_facts": record.expected_facts}
    if record.expected_response is not None:
        return {"expected_response": record.expected_response}
    return {"grading_notes": record.metadata.get("grading_notes")}


def _guidelines_context(context: ScoringContext) -> dict[str, Any]:
    columns = {**context.expectations, **context.record.metadata}
    texts = parse_json(columns.get("guidelines_context"))
    if not isinstance(texts, Mapping):
        return {"guidelines_context": texts and str(texts)}
    return {"guidelines_context": [f"{name}: {text}" for name, text in texts.items()]}


_READERS: dict[str, Callable[[ScoringContext], dict[str, Any]]] = {
    "request": lambda context: {"request": conversation_text(context.record.request)},
    "response": lambda context: {"response": context.response_text},
    "retrieved_context": lambda context: {"retrieved_context": context.retrieved_texts},
    "expected_facts": lambda context: {"expected_facts": context.record.expected_facts},
    "expected_response": lambda context: {"expected_response": context.record.expected_response},
    EXPECTED: _expected,
    "guidelines": lambda context: {"guidelines": guideline_groups(context.record.guidelines)},
    "guidelines_context": _guidelines_context,
}
