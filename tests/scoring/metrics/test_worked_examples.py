"""Metrics of worked examples."""

from __future__ import annotations

from typing import Any

import pytest

from langchain_dbx_eval import EvalRecord
from langchain_dbx_eval.scoring import (
    DEFAULT_SCORERS,
    DocumentRecall,
    ExactMatch,
    Outcome,
    RowScores,
    ScoringContext,
    TokenF1,
    score,
)


def context(response: Any, retrieved: list[str] | None = None, **expected: Any) -> ScoringContext:
    chunks = None if retrieved is None else [{"doc_uri": uri} for uri in retrieved]
    outcome = Outcome(response=response, retrieved_context=chunks)
    return ScoringContext(EvalRecord(request="q", **expected), outcome)


# The values are those of the official SQuAD 1.1 evaluation script for the same pairs.
@pytest.mark.parametrize(
    ("expected", "answer", "exact", "f1"),
    [
        ("the Denver Broncos", "Denver Broncos!", 1.0, 1.0),
        ("Denver Broncos", "Broncos", 0.0, 2 / 3),
        ("a b c d", "b c x", 0.0, 2 * (2 / 3) * (2 / 3) / (2 / 3 + 2 / 3)),
        ("one one two", "one", 0.0, 0.5),
        ("yes", "no", 0.0, 0.0),
        ("", "", 1.0, 1.0),
        ("서울 특별시", "서울 특별시.", 1.0, 1.0),
    ],
)
def test_exact_match_and_f1_equal_those_of_squad(
    expected: str, answer: str, exact: float, f1: float
) -> None:
    row = context(answer, expected_response=expected)
    assert ExactMatch().score(row)[0].value == exact
    assert TokenF1().score(row)[0].value == pytest.approx(f1)


@pytest.mark.parametrize(
    ("expected", "retrieved", "recall"),
    [
        (["a", "b"], ["b", "c"], 0.5),
        (["a"], ["a", "a"], 1.0),
        (["a", "a"], ["a"], 1.0),
        (["a"], [], 0.0),
    ],
)
def test_recall_counts_each_document_once(
    expected: list[str], retrieved: list[str], recall: float
) -> None:
    documents = [{"doc_uri": uri} for uri in expected]
    row = context("x", retrieved, expected_retrieved_context=documents)
    assert DocumentRecall().score(row)[0].value == recall


def test_a_metric_without_its_inputs_has_no_score() -> None:
    assert score(context("answer"), DEFAULT_SCORERS) == RowScores()
    documents = [{"doc_uri": "a"}]
    row = context("x", None, expected_retrieved_context=documents)
    assert score(row, DEFAULT_SCORERS) == RowScores()
