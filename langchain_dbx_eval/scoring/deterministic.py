"""Scorers that compute: the same row always gives the same score."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from langchain_dbx_eval.scoring.assessments import Assessment
from langchain_dbx_eval.scoring.context import Scorer, ScoringContext

__all__ = ["DEFAULT_SCORERS", "DocumentRecall", "ExactMatch", "TokenF1"]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True)
class DocumentRecall:
    """The part of the expected documents that was retrieved, by ``doc_uri``.

    ``|expected and retrieved| / |expected|`` (Databricks, "Agent Evaluation: retrieval metrics",
    where it is ``document_recall``). Needs ``expected_retrieved_context`` and a retriever.
    """

    name: str = "document_recall"
    column: str = "retrieval/ground_truth/document_recall"

    def score(self, context: ScoringContext) -> Sequence[Assessment]:
        """Assess one row: a number from 0 to 1."""
        expected = {chunk["doc_uri"] for chunk in context.record.expected_retrieved_context or ()}
        if not expected or context.outcome.retrieved_context is None:
            return []
        found = expected & {chunk.get("doc_uri") for chunk in context.outcome.retrieved_context}
        missed = ", ".join(sorted(expected - found)) or "none"
        return [
            Assessment(
                name=self.name,
                column=self.column,
                value=len(found) / len(expected),
                rationale=f"{len(found)} of {len(expected)} expected documents; missed: {missed}",
            )
        ]


@dataclass(frozen=True)
class ExactMatch:
    """Whether the answer is the expected one, but for case, punctuation, articles and spaces.

    The "exact match" of Rajpurkar et al., "SQuAD: 100,000+ Questions for Machine Comprehension of
    Text" (2016), section 6.1. Needs ``expected_response``.
    """

    name: str = "exact_match"
    column: str = "response/ground_truth/exact_match"

    def score(self, context: ScoringContext) -> Sequence[Assessment]:
        """Assess one row: 1 or 0."""
        expected, answer = context.record.expected_response, context.response_text
        if expected is None or answer is None:
            return []
        same = _words(expected) == _words(answer)
        return [Assessment(name=self.name, column=self.column, value=float(same))]


@dataclass(frozen=True)
class TokenF1:
    """How many words the answer shares with the expected one.

    The harmonic mean of precision and recall over the two bags of words: the "F1 score" of
    Rajpurkar et al. (2016), section 6.1, with its normalisation. Needs ``expected_response``.
    """

    name: str = "token_f1"
    column: str = "response/ground_truth/token_f1"

    def score(self, context: ScoringContext) -> Sequence[Assessment]:
        """Assess one row: a number from 0 to 1."""
        expected, answer = context.record.expected_response, context.response_text
        if expected is None or answer is None:
            return []
        value = _f1(_words(expected), _words(answer))
        return [Assessment(name=self.name, column=self.column, value=value)]


DEFAULT_SCORERS: tuple[Scorer, ...] = (DocumentRecall(), ExactMatch(), TokenF1())


def _f1(expected: list[str], answer: list[str]) -> float:
    if not expected or not answer:
        return float(expected == answer)
    shared = sum((Counter(expected) & Counter(answer)).values())
    return 2 * shared / (len(expected) + len(answer))


def _words(text: str) -> list[str]:
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()
