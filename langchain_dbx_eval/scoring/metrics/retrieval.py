"""Scores of what was retrieved, against ``expected_retrieved_context``, by ``doc_uri``.

A document is relevant or it is not; of the chunks of one document, the first one counts. All need
``expected_retrieved_context`` and a retriever; a row without says nothing. The formulas are those
of C. D. Manning, P. Raghavan, H. Schütze, "Introduction to Information Retrieval" (2008),
chapter 8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log2
from typing import NamedTuple

from langchain_dbx_eval.scoring.assessments import Assessment
from langchain_dbx_eval.scoring.context import ScoringContext

__all__ = ["DocumentPrecision", "DocumentRecall", "ReciprocalRank", "RetrievalNdcg"]


_RATINGS = "retrieval/ground_truth/document_ratings"


class _Retrieval(NamedTuple):
    """Expected documents, and the retrieved ones from the first rank to the last."""

    expected: list[str]
    retrieved: list[str | None]

    @property
    def hits(self) -> list[bool]:
        """By rank, whether the document is an expected one."""
        return [uri in self.expected for uri in self.retrieved]


@dataclass(frozen=True)
class DocumentRecall:
    """The part of the expected documents that was retrieved.

    ``|expected and retrieved| / |expected|`` (Databricks, "Agent Evaluation: retrieval metrics",
    where it is ``document_recall``). ``document_ratings`` beside it says "yes" or "no" for each
    expected document, in their order.
    """

    name: str = "document_recall"
    column: str = "retrieval/ground_truth/document_recall"

    def score(self, context: ScoringContext) -> Sequence[Assessment]:
        """Assess one row: a number from 0 to 1."""
        row = _retrieval(context)
        if row is None:
            return []
        missed = [uri for uri in row.expected if uri not in row.retrieved]
        found = len(row.expected) - len(missed)
        told = f"{found} of {len(row.expected)} expected documents; missed: "
        ratings = ["no" if uri in missed else "yes" for uri in row.expected]
        return [
            Assessment(
                name=self.name,
                column=self.column,
                value=found / len(row.expected),
                rationale=told + (", ".join(missed) or "none"),
                extra_columns={_RATINGS: ratings},
            )
        ]


@dataclass(frozen=True)
class DocumentPrecision:
    """The part of the retrieved documents that is expected.

    ``|expected and retrieved| / |retrieved|``; 0 where nothing was retrieved.
    """

    name: str = "document_precision"
    column: str = "retrieval/ground_truth/document_precision"

    def score(self, context: ScoringContext) -> Sequence[Assessment]:
        """Assess one row: a number from 0 to 1."""
        row = _retrieval(context)
        if row is None:
            return []
        value = sum(row.hits) / len(row.hits) if row.hits else 0.0
        return [Assessment(name=self.name, column=self.column, value=value)]


@dataclass(frozen=True)
class ReciprocalRank:
    """How early the first expected document comes: ``1 / its rank``, 0 where none was retrieved.

    Its average over the rows is the mean reciprocal rank (E. M. Voorhees, "The TREC-8 Question
    Answering Track Report", 1999).
    """

    name: str = "reciprocal_rank"
    column: str = "retrieval/ground_truth/reciprocal_rank"

    def score(self, context: ScoringContext) -> Sequence[Assessment]:
        """Assess one row: a number from 0 to 1."""
        row = _retrieval(context)
        if row is None:
            return []
        value = next((1 / rank for rank, hit in enumerate(row.hits, 1) if hit), 0.0)
        return [Assessment(name=self.name, column=self.column, value=value)]


@dataclass(frozen=True)
class RetrievalNdcg:
    """How good the order of the retrieved documents is.

    ``DCG / ideal DCG`` with ``DCG = sum of relevance / log2(rank + 1)`` over the ranks that were
    retrieved; the ideal order has the expected documents first (K. Järvelin, J. Kekäläinen,
    "Cumulated gain-based evaluation of IR techniques", 2002).
    """

    name: str = "ndcg"
    column: str = "retrieval/ground_truth/ndcg"

    def score(self, context: ScoringContext) -> Sequence[Assessment]:
        """Assess one row: a number from 0 to 1."""
        row = _retrieval(context)
        if row is None:
            return []
        ideal = _discounted([True] * min(len(row.expected), len(row.hits)))
        value = _discounted(row.hits) / ideal if ideal else 0.0
        return [Assessment(name=self.name, column=self.column, value=value)]


def _discounted(hits: list[bool]) -> float:
    return sum(1 / log2(rank + 1) for rank, hit in enumerate(hits, 1) if hit)


def _retrieval(context: ScoringContext) -> _Retrieval | None:
    expected = context.record.expected_retrieved_context
    retrieved = context.outcome.retrieved_context
    if not expected or retrieved is None:
        return None
    # A chunk without a doc_uri is a document of its own, which nobody expected.
    uris: list[str | None] = []
    for uri in (chunk.get("doc_uri") for chunk in retrieved):
        if uri is None or uri not in uris:
            uris.append(uri)
    return _Retrieval(list(dict.fromkeys(chunk["doc_uri"] for chunk in expected)), uris)
