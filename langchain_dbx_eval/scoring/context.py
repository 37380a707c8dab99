"""The one thing that a scorer is given: the record, and what the chain made of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from langchain_dbx_eval.datasets import EvalRecord
from langchain_dbx_eval.scoring.answer_text import answer_text, request_text
from langchain_dbx_eval.scoring.assessments import Assessment, Skip

__all__ = ["AnyScorer", "AsyncScorer", "Outcome", "Scorer", "ScoringContext"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a chain made of one request.

    Attributes:
        response: Its answer, as it came.
        retrieved_context: What its retrievers returned: ``{"doc_uri"?, "content"?}``; None when
            nothing was retrieved.
        latency_seconds: From its start to its end; None for an answer given earlier.
        time_to_first_token_seconds: From its start to the first token that one of its models
            streamed; None where none did.
        input_tokens: Tokens that its models read; None where they don't tell.
        output_tokens: Tokens that its models wrote; None where they don't tell.
        error: Why there is no answer.
    """

    response: Any = None
    retrieved_context: Sequence[dict[str, Any]] | None = None
    latency_seconds: float | None = None
    time_to_first_token_seconds: float | None = None
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
    def request_text(self) -> str:
        """The question's text; of a conversation, its last turn."""
        return request_text(self.record.request)

    @property
    def response_text(self) -> str | None:
        """The answer's text, or None where there is no answer."""
        return answer_text(self.outcome.response)

    @property
    def retrieved_texts(self) -> list[str]:
        """The retrieved chunks that have a text; those without one cannot be judged."""
        chunks = self.outcome.retrieved_context or ()
        return [chunk["content"] for chunk in chunks if chunk.get("content")]


class Scorer(Protocol):
    """Says something about one row, by computing it.

    A scorer that lacks what it needs in a row returns nothing for it, or a `Skip` that is counted,
    rather than a bad score.
    """

    @property
    def name(self) -> str:
        """Its short name."""
        ...

    @property
    def column(self) -> str:
        """What the columns of its assessments begin with (see `Assessment.column`)."""
        ...

    def score(self, context: ScoringContext) -> Sequence[Assessment | Skip]:
        """Assess one row."""
        ...


class AsyncScorer(Protocol):
    """Says something about one row, after waiting for somebody: a model, a service, a thread."""

    @property
    def name(self) -> str:
        """Its short name."""
        ...

    @property
    def column(self) -> str:
        """What the columns of its assessments begin with."""
        ...

    async def ascore(self, context: ScoringContext) -> Sequence[Assessment | Skip]:
        """Assess one row."""
        ...


AnyScorer: TypeAlias = Scorer | AsyncScorer
