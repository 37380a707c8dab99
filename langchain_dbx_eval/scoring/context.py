"""The one thing that a scorer is given: the record, and what the chain made of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from langchain_dbx_eval.datasets import EvalRecord
from langchain_dbx_eval.scoring.answers import answer_text
from langchain_dbx_eval.scoring.assessments import Assessment

__all__ = ["Outcome", "Scorer", "ScoringContext", "score"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a chain made of one request.

    Attributes:
        response: Its answer, as it came.
        retrieved_context: What its retrievers returned: ``{"doc_uri"?, "content"?}``; None when
            nothing was retrieved.
        latency_seconds: From its start to its end; None for an answer given earlier.
        input_tokens: Tokens that its models read; None where they don't tell.
        output_tokens: Tokens that its models wrote; None where they don't tell.
        error: Why there is no answer.
    """

    response: Any = None
    retrieved_context: Sequence[dict[str, Any]] | None = None
    latency_seconds: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    error: str | None = None

    @property
    def total_tokens(self) -> int | None:
        """All tokens, read and written."""
        if self.input_tokens is None and self.output_tokens is None:
            return None
        return (self.input_tokens or 0) + (self.output_tokens or 0)


@dataclass(frozen=True)
class ScoringContext:
    """All that a scorer may look at.

    Attributes:
        record: What was asked, and what is known about a good answer.
        outcome: What the chain made of it.
    """

    record: EvalRecord
    outcome: Outcome

    @property
    def response_text(self) -> str | None:
        """The answer's text, or None where there is no answer."""
        return answer_text(self.outcome.response)


class Scorer(Protocol):
    """Says something about one row.

    A scorer that lacks what it needs in a row returns nothing for it, rather than a bad score.
    """

    @property
    def name(self) -> str:
        """Its short name."""
        ...

    @property
    def column(self) -> str:
        """The column of its assessments."""
        ...

    def score(self, context: ScoringContext) -> Sequence[Assessment]:
        """Assess one row."""
        ...


def score(context: ScoringContext, scorers: Iterable[Scorer]) -> list[Assessment]:
    """Let each scorer assess a row; one that raises becomes an error of its own, and no score.

    A row without an answer is not scored: its failure is told as such, not as a bad answer.
    """
    if context.outcome.error is not None:
        return []
    assessments: list[Assessment] = []
    for scorer in scorers:
        try:
            assessments += scorer.score(context)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            assessments.append(Assessment(name=scorer.name, column=scorer.column, error=reason))
    return assessments
