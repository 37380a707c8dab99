"""What a scorer says about one row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Assessment", "JudgeUsage", "RowScores", "Skip"]


@dataclass(frozen=True, kw_only=True)
class JudgeUsage:
    """What a judgement took.

    Attributes:
        calls: Calls of the judge's model that were answered.
        cached: Judgements that were known already: from the cache, or asked for twice in a run.
        input_tokens: Tokens that the model read, as far as it told.
        output_tokens: Tokens that the model wrote, as far as it told.
        cost_usd: What it cost, where known; None where no call told.
        seconds: How long the calls took, added up: calls run side by side.
    """

    calls: int = 0
    cached: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    seconds: float = 0.0

    def __add__(self, other: JudgeUsage) -> JudgeUsage:
        costs = [c for c in (self.cost_usd, other.cost_usd) if c is not None]
        return JudgeUsage(
            calls=self.calls + other.calls,
            cached=self.cached + other.cached,
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cost_usd=sum(costs) if costs else None,
            seconds=self.seconds + other.seconds,
        )


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """One statement about one row.

    Attributes:
        name: The scorer's short name, such as ``document_recall``: the assessment's name on the
            MLflow trace.
        column: What its columns in ``tables["eval_results"]`` begin with, such as
            ``response/llm_judged/correctness``.
        leaf: What its value's column ends with, such as ``rating``; empty where `column` is that
            column itself.
        value: The score; None where there is none.
        rationale: Why, in words.
        error: Why there is no score, or (where it is one of many parts) why it is not of all parts.
        source: Who says it, in MLflow's terms.
        extra_columns: Further values, by their column.
        metadata: What else is known of it, such as the judge's prompt version.
        usage: What it took, where a model was asked.
    """

    name: str
    column: str
    leaf: str = ""
    value: float | bool | str | None = None
    rationale: str | None = None
    error: str | None = None
    source: Literal["CODE", "LLM_JUDGE", "HUMAN"] = "CODE"
    extra_columns: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    usage: JudgeUsage | None = None

    @property
    def value_column(self) -> str:
        """The column of its value."""
        return f"{self.column}/{self.leaf}" if self.leaf else self.column

    @property
    def number(self) -> float | None:
        """The value as a number: ``"yes"`` is 1, ``"no"`` is 0; None for any other text."""
        if isinstance(self.value, int | float):
            return float(self.value)
        # Not by a dict: a scorer of MLflow's may give a value that cannot be hashed.
        return 1.0 if self.value == "yes" else 0.0 if self.value == "no" else None

    def columns(self) -> dict[str, Any]:
        """Its part of a row of ``tables["eval_results"]``."""
        told = {"rationale": self.rationale, "error_message": self.error}
        named = {f"{self.column}/{end}": text for end, text in told.items() if text is not None}
        return {self.value_column: self.value, **named, **self.extra_columns}


@dataclass(frozen=True)
class Skip:
    """A scorer that lacks what it needs in a row, and so says nothing about it.

    Attributes:
        name: The scorer's short name.
        reason: What is lacking.
        value_column: The column in which its value would be; it is there, and empty.
    """

    name: str
    reason: str
    value_column: str


@dataclass(frozen=True)
class RowScores:
    """All that is said about one row.

    Attributes:
        assessments: What the scorers say, and the overall assessment.
        skipped: Who says nothing, and why.
    """

    assessments: tuple[Assessment, ...] = ()
    skipped: tuple[Skip, ...] = ()
