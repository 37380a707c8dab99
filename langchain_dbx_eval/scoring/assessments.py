"""The results of scorers for one row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

__all__ = [
    "EMPTY_RESPONSE",
    "JUDGE_DISAGREEMENT",
    "NO_VERDICT",
    "Assessment",
    "JudgeInstability",
    "JudgeUsage",
    "RowScores",
    "ScorerOutput",
    "Skip",
]

JUDGE_DISAGREEMENT = "judge_disagreement"
"""The metadata key of an assessment for the share of pairs of repeats with different ratings."""

EMPTY_RESPONSE = "response (it is empty)"
"""The `Skip.reason` of a judge that has nothing to rate."""

NO_VERDICT = "dbx_eval.no_verdict"
"""The metadata key of an error of a judge that rates neither "yes" nor "no"."""


@dataclass(frozen=True, kw_only=True)
class JudgeUsage:
    """Cost of judging.

    Attributes:
        calls: Completed calls of the judge model.
        cached: Verdicts that needed no call: from the cache, or repeated within a run.
        input_tokens: Prompt tokens, of the calls that reported them.
        cached_input_tokens: Those of them that providers read from a prompt cache.
        output_tokens: Completion tokens, of the calls that reported them.
        cost_usd: Cost in US dollars, of the calls that reported it; None if none did.
        seconds: Sum of the durations of the calls, which may overlap.
    """

    calls: int = 0
    cached: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    seconds: float = 0.0
    cached_input_tokens: int = 0

    def __add__(self, other: JudgeUsage) -> JudgeUsage:
        costs = [c for c in (self.cost_usd, other.cost_usd) if c is not None]
        return JudgeUsage(
            calls=self.calls + other.calls,
            cached=self.cached + other.cached,
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cost_usd=sum(costs) if costs else None,
            seconds=self.seconds + other.seconds,
            cached_input_tokens=self.cached_input_tokens + other.cached_input_tokens,
        )


@dataclass(frozen=True, kw_only=True)
class JudgeInstability:
    """How often a judge that is asked several times (``judge_repeats``) contradicts itself.

    Attributes:
        rows: Number of rows with two ratings or more.
        unstable_rows: Number of these whose ratings are not all equal.
        disagreement: Mean share of the pairs of ratings of a row that differ, from 0 to 1.
    """

    rows: int
    unstable_rows: int
    disagreement: float

    @property
    def share(self) -> float:
        """Share of the rows whose ratings are not all equal."""
        return self.unstable_rows / self.rows


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """One result of one scorer for one row.

    Attributes:
        name: Short name of the scorer, such as ``document_recall``; the name of the assessment on
            the MLflow trace.
        column: Prefix of its columns in ``tables["eval_results"]``, such as
            ``response/llm_judged/correctness``.
        leaf: Last part of the value's column, such as ``rating``; empty if `column` is the value's
            column.
        value: The score; None if there is none.
        rationale: Explanation of the score.
        error: Why there is no score. A score that averages several parts may have an error too:
            why some parts are missing.
        source: Type of the source, as in MLflow's ``AssessmentSource``.
        extra_columns: Additional values by column.
        metadata: Additional facts for the MLflow assessment, such as the judge's prompt version.
        usage: Cost of judging; None if no judge model was involved.
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
        """Column of the value."""
        return f"{self.column}/{self.leaf}" if self.leaf else self.column

    @property
    def number(self) -> float | None:
        """The value as a number: ``"yes"`` is 1, ``"no"`` is 0; None for any other text."""
        if isinstance(self.value, int | float):
            return float(self.value)
        # No dict lookup: the value of an MLflow scorer may be unhashable.
        return 1.0 if self.value == "yes" else 0.0 if self.value == "no" else None

    def columns(self) -> dict[str, Any]:
        """Return its values by column of ``tables["eval_results"]``."""
        texts = {"rationale": self.rationale, "error_message": self.error}
        named = {f"{self.column}/{leaf}": text for leaf, text in texts.items() if text is not None}
        return {self.value_column: self.value, **named, **self.extra_columns}


@dataclass(frozen=True)
class Skip:
    """Result of a scorer for a row that lacks an input of the scorer.

    Attributes:
        name: Short name of the scorer.
        reason: The missing inputs.
        value_column: Column of the value, which exists and is empty; empty: no column.
    """

    name: str
    reason: str
    value_column: str


ScorerOutput: TypeAlias = Sequence[Assessment | Skip]
"""All results of one scorer for one row."""


@dataclass(frozen=True)
class RowScores:
    """All results for one row.

    Attributes:
        assessments: Those of the scorers, then the overall assessment if there is one.
        skipped: Scorers that lacked an input.
        is_complete: Whether all scorers have finished. If not, there is no overall assessment.
    """

    assessments: tuple[Assessment, ...] = ()
    skipped: tuple[Skip, ...] = ()
    is_complete: bool = True
