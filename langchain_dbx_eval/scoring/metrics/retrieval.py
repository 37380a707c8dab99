"""Metrics of the retrieved documents, compared with ``expected_retrieved_context`` by ``doc_uri``.

Relevance is binary: a document is expected or not. Of several chunks of one document, the first one
counts. The formulas are those of C. D. Manning, P. Raghavan, H. Schütze, "Introduction to
Information Retrieval" (2008), chapter 8.

To add a metric, add a subclass of `RetrievalMetric` here and its name to ``__all__``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from math import log2
from typing import NamedTuple

from langchain_dbx_eval.scoring.assessments import Assessment, ScorerOutput
from langchain_dbx_eval.scoring.context import ScoringContext

__all__ = ["DocumentPrecision", "DocumentRecall", "ReciprocalRank", "RetrievalNdcg"]

_RATINGS = "retrieval/ground_truth/document_ratings"


class Ranking(NamedTuple):
    """Expected and retrieved documents of a row, by ``doc_uri``, without duplicates.

    Attributes:
        expected: The expected documents.
        retrieved: The retrieved documents by rank; None for one without ``doc_uri``.
    """

    expected: list[str]
    retrieved: list[str | None]

    @property
    def hits(self) -> list[bool]:
        """Whether the document of each rank is expected."""
        return [uri in self.expected for uri in self.retrieved]


class RetrievalMetric(ABC):
    """A number from 0 to 1 for each row with ``expected_retrieved_context`` and a retriever."""

    name: str
    column: str

    def score(self, context: ScoringContext) -> ScorerOutput:
        """See `Scorer.score`."""
        expected = context.record.expected_retrieved_context
        retrieved = context.outcome.retrieved_context
        if not expected or retrieved is None:
            return []
        uris: list[str | None] = []
        for uri in (chunk.get("doc_uri") for chunk in retrieved):
            # Each chunk without a doc_uri counts as a document that is not expected.
            if uri is None or uri not in uris:
                uris.append(uri)
        ranking = Ranking(list(dict.fromkeys(chunk["doc_uri"] for chunk in expected)), uris)
        return [self._assess(ranking)]

    def _assess(self, ranking: Ranking) -> Assessment:
        return Assessment(name=self.name, column=self.column, value=self._value(ranking))

    @abstractmethod
    def _value(self, ranking: Ranking) -> float:
        """Return the value for one row, from 0 to 1."""


@dataclass(frozen=True)
class DocumentRecall(RetrievalMetric):
    """Share of the expected documents that were retrieved.

    ``|expected ∩ retrieved| / |expected|`` (Databricks, "Agent Evaluation: retrieval metrics",
    ``document_recall``). The column ``document_ratings`` is a list with "yes" or "no" for each
    expected document.
    """

    name: str = "document_recall"
    column: str = "retrieval/ground_truth/document_recall"

    def _value(self, ranking: Ranking) -> float:
        return sum(ranking.hits) / len(ranking.expected)

    def _assess(self, ranking: Ranking) -> Assessment:
        missed = [uri for uri in ranking.expected if uri not in ranking.retrieved]
        found = f"{sum(ranking.hits)} of {len(ranking.expected)} expected documents"
        ratings = ["no" if uri in missed else "yes" for uri in ranking.expected]
        return replace(
            super()._assess(ranking),
            rationale=f"{found}; missed: {', '.join(missed) or 'none'}",
            extra_columns={_RATINGS: ratings},
        )


@dataclass(frozen=True)
class DocumentPrecision(RetrievalMetric):
    """Share of the retrieved documents that are expected.

    ``|expected ∩ retrieved| / |retrieved|``; 0 if nothing was retrieved.
    """

    name: str = "document_precision"
    column: str = "retrieval/ground_truth/document_precision"

    def _value(self, ranking: Ranking) -> float:
        return sum(ranking.hits) / len(ranking.hits) if ranking.hits else 0.0


@dataclass(frozen=True)
class ReciprocalRank(RetrievalMetric):
    """``1 / rank`` of the first expected document; 0 if none was retrieved.

    Its average over the rows is the mean reciprocal rank (E. M. Voorhees, "The TREC-8 Question
    Answering Track Report", 1999).
    """

    name: str = "reciprocal_rank"
    column: str = "retrieval/ground_truth/reciprocal_rank"

    def _value(self, ranking: Ranking) -> float:
        return next((1 / rank for rank, hit in enumerate(ranking.hits, 1) if hit), 0.0)


@dataclass(frozen=True)
class RetrievalNdcg(RetrievalMetric):
    """Normalized discounted cumulative gain of the order of the retrieved documents.

    ``DCG / ideal DCG`` with ``DCG = sum of relevance / log2(rank + 1)`` over the retrieved ranks;
    the ideal order has the expected documents first (K. Järvelin, J. Kekäläinen, "Cumulated
    gain-based evaluation of IR techniques", 2002).
    """

    name: str = "ndcg"
    column: str = "retrieval/ground_truth/ndcg"

    def _value(self, ranking: Ranking) -> float:
        ideal = _dcg([True] * min(len(ranking.expected), len(ranking.hits)))
        return _dcg(ranking.hits) / ideal if ideal else 0.0


def _dcg(hits: list[bool]) -> float:
    return sum(1 / log2(rank + 1) for rank, hit in enumerate(hits, 1) if hit)
