"""Scores against worked examples."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage

from langchain_dbx_eval import EvalRecord
from langchain_dbx_eval.scoring import (
    DEFAULT_SCORERS,
    Assessment,
    DocumentRecall,
    ExactMatch,
    Outcome,
    RowScores,
    ScoringContext,
    TokenF1,
    score,
)
from langchain_dbx_eval.scoring.aggregates import summarize
from langchain_dbx_eval.scoring.answer_text import answer_text


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
def test_match_and_f1_are_squads(expected: str, answer: str, exact: float, f1: float) -> None:
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
def test_recall_counts_documents(expected: list[str], retrieved: list[str], recall: float) -> None:
    documents = [{"doc_uri": uri} for uri in expected]
    row = context("x", retrieved, expected_retrieved_context=documents)
    assert DocumentRecall().score(row)[0].value == recall


def test_a_scorer_without_what_it_needs_says_nothing() -> None:
    assert score(context("answer"), DEFAULT_SCORERS) == RowScores()
    documents = [{"doc_uri": "a"}]
    row = context("x", None, expected_retrieved_context=documents)
    assert score(row, DEFAULT_SCORERS) == RowScores()


def test_a_row_that_failed_is_not_scored() -> None:
    row = ScoringContext(EvalRecord(request="q", expected_response="x"), Outcome(error="boom"))
    assert score(row, DEFAULT_SCORERS) == RowScores()


class Careless:
    name = "careless"
    column = "response/careless"

    def score(self, context: ScoringContext) -> list[Assessment]:
        raise KeyError("text")


def test_a_scorer_that_raises_is_an_error_of_its_own_and_loses_no_other() -> None:
    row = context("x", expected_response="x")
    careless, match = score(row, [Careless(), ExactMatch()]).assessments
    assert (careless.value, careless.error) == (None, "KeyError: 'text'")
    assert match.value == 1.0
    metrics = summarize([(row.outcome, RowScores((careless, match)))]).metrics
    assert metrics["judge/careless/error_count"] == 1
    assert "response/careless/average" not in metrics


def test_an_average_is_over_the_rows_that_have_a_number() -> None:
    def rated(value: float | None) -> RowScores:
        said = () if value is None else (Assessment(name="m", column="m", value=value),)
        return RowScores(said)

    outcome = Outcome(latency_seconds=2.0, input_tokens=3, output_tokens=4)
    rows = [(outcome, rated(1.0)), (Outcome(), rated(0.0)), (Outcome(), rated(None))]
    metrics = summarize(rows).metrics
    assert metrics == {
        "m/average": 0.5,
        "agent/latency_seconds/average": 2.0,
        "agent/total_token_count/average": 7.0,
        "agent/total_input_token_count/average": 3.0,
        "agent/total_output_token_count/average": 4.0,
    }


@pytest.mark.parametrize(
    "answer",
    [
        "hi",
        AIMessage("hi"),
        {"content": "hi"},
        {"choices": [{"message": {"role": "assistant", "content": "hi"}}]},
        {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "hi"}]},
        {"messages": [AIMessage("no"), AIMessage("hi")]},
        [AIMessage("no"), AIMessage("hi")],
        {"content": [{"type": "text", "text": "hi"}]},
    ],
)
def test_the_text_of_every_documented_answer_is_found(answer: Any) -> None:
    assert answer_text(answer) == "hi"


def test_any_other_answer_is_its_json() -> None:
    assert answer_text({"score": 1}) == '{"score": 1}'
    assert answer_text(None) is None
