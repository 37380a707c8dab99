"""Scoring of one row: failed rows, failed scorers, and results that exist already."""

from __future__ import annotations

from typing import Any

from langchain_dbx_eval import EvalRecord
from langchain_dbx_eval.scoring import (
    DEFAULT_SCORERS,
    Assessment,
    ExactMatch,
    Outcome,
    RowScores,
    ScoringContext,
    ascore,
    score,
)
from langchain_dbx_eval.scoring.aggregates import RowResult, summarize

ROW = ScoringContext(EvalRecord(request="q", expected_response="x"), Outcome(response="x"))


class Broken:
    name = "broken"
    column = "response/broken"

    def score(self, context: ScoringContext) -> list[Assessment]:
        raise KeyError("text")


class AsyncScorer:
    name = "async"
    column = "response/async"
    leaf = "rating"

    def __init__(self, value: float | Exception) -> None:
        self.value = value
        self.calls = 0

    async def score(self, context: ScoringContext) -> list[Assessment]:
        self.calls += 1
        if isinstance(self.value, Exception):
            raise self.value
        return [Assessment(name=self.name, column=self.column, value=self.value)]


def test_a_failed_row_is_not_scored() -> None:
    row = ScoringContext(ROW.record, Outcome(error="boom"))
    assert score(row, DEFAULT_SCORERS) == RowScores()


def test_a_scorer_that_raises_is_an_error_of_its_own_and_affects_no_other() -> None:
    broken, match = score(ROW, [Broken(), ExactMatch()]).assessments
    assert (broken.value, broken.error) == (None, "KeyError: 'text'")
    assert match.value == 1.0
    metrics = summarize([RowResult(ROW.outcome, RowScores((broken, match)))]).metrics
    assert metrics["judge/broken/error_count"] == 1
    assert "response/broken/average" not in metrics


def test_an_async_scorer_that_raises_is_an_error_in_the_column_of_its_value() -> None:
    (failed,) = score(ROW, [AsyncScorer(ValueError("no"))]).assessments
    assert failed.columns() == {
        "response/async/rating": None,
        "response/async/error_message": "ValueError: no",
    }


async def test_known_outputs_are_reused_and_new_ones_are_reported() -> None:
    reported: dict[str, Any] = {}
    known = AsyncScorer(1.0)
    output = [Assessment(name="async", column=known.column, value=0.5)]
    scores = await ascore(
        ROW, [known, ExactMatch()], known={known.column: output}, keep=reported.update
    )
    assert known.calls == 0
    assert [a.value for a in scores.assessments] == [0.5, 1.0]
    assert list(reported) == [ExactMatch.column]
