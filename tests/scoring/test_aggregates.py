"""Aggregation of rows to metrics, and the names under which metrics are read."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest

from langchain_dbx_eval.scoring import Assessment, Outcome, RowScores, Skip
from langchain_dbx_eval.scoring.aggregates import Metrics, RowResult, summarize

ANSWERED = Outcome(response="answer")
CANONICAL = "response/llm_judged/safety/rating/percentage"
ALIAS = "response/llm_judged/safety/percentage"


def rated(name: str, value: str | None, **more: Any) -> Assessment:
    column = f"response/llm_judged/{name}"
    return Assessment(
        name=name, column=column, leaf="rating", value=value, source="LLM_JUDGE", **more
    )


def test_an_average_is_over_the_rows_with_a_number() -> None:
    def scores(value: float | None) -> RowScores:
        assessment = Assessment(name="m", column="m", value=value)
        return RowScores(() if value is None else (assessment,))

    outcome = Outcome(response="a", latency_seconds=2.0, input_tokens=3, output_tokens=4)
    rows = [
        RowResult(outcome, scores(1.0)),
        RowResult(ANSWERED, scores(0.0)),
        RowResult(ANSWERED, scores(None)),
    ]
    metrics = summarize(rows).metrics
    assert metrics == {
        "m/average": 0.5,
        "agent/latency_seconds/average": 2.0,
        "agent/total_token_count/average": 7.0,
        "agent/total_input_token_count/average": 3.0,
        "agent/total_output_token_count/average": 4.0,
        "rows/total": 3,
        "rows/answered": 3,
        "rows/failed": 0,
        "rows/empty": 0,
    }


def test_each_percentage_has_its_number_of_rows_and_interval() -> None:
    scores = [RowScores((rated("safety", value),)) for value in ("yes", "yes", "no", None)]
    skip = Skip("other", "y", "other/rating")
    scores.append(RowScores((rated("safety", None, error="x"),), (skip,)))
    rows = [RowResult(ANSWERED, of_row) for of_row in scores]
    summary = summarize(rows)
    (share,) = summary.percentages
    assert (share.name, share.n) == ("response/llm_judged/safety/rating/percentage", 3)
    assert share.value == pytest.approx(2 / 3)
    # https://en.wikipedia.org/wiki/Binomial_proportion_confidence_interval, Wilson, 2 of 3.
    assert (share.low, share.high) == pytest.approx((0.2077, 0.9385), abs=1e-4)
    assert summary.metrics["judge/safety/error_count"] == 1
    assert summary.errors == {"safety": 1}
    assert summary.skipped == {"other": 1}
    assert summary.judged == {"safety": 3}


def test_an_alias_is_read_wherever_its_metric_exists() -> None:
    metrics = Metrics({CANONICAL: 0.5, "agent/latency_seconds/average": 2.0})
    for name in (CANONICAL, ALIAS):
        assert name in metrics
        assert metrics[name] == metrics.get(name) == metrics.get(name, 7) == 0.5
    for name in ("response/llm_judged/other/percentage", "agent/latency_seconds", 5):
        assert name not in metrics
        assert metrics.get(name) is None
        assert metrics.get(name, 7) == 7
        with pytest.raises(KeyError):
            metrics[name]


def test_only_canonical_names_are_listed_and_compared() -> None:
    metrics = Metrics({CANONICAL: 0.5})
    assert list(metrics) == list(metrics.keys()) == [CANONICAL]
    assert len(metrics) == len(metrics.keys()) == 1
    assert ALIAS not in metrics.keys()  # noqa: SIM118
    assert dict(metrics) == {CANONICAL: 0.5} == metrics
    assert metrics != {ALIAS: 0.5}
    assert json.loads(json.dumps(metrics)) == {CANONICAL: 0.5}


@pytest.mark.parametrize(
    "duplicate",
    [Metrics, Metrics.copy, copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))],
    ids=["constructor", "method", "copy", "deepcopy", "pickle"],
)
def test_a_copy_has_the_same_names_and_aliases(duplicate: Any) -> None:
    metrics = Metrics({CANONICAL: 0.5})
    copied = duplicate(metrics)
    assert copied == metrics
    assert list(copied) == [CANONICAL]
    assert copied[ALIAS] == 0.5


def test_a_listed_name_takes_precedence_over_an_alias() -> None:
    metrics = Metrics({"mine/percentage": 0.1, "mine/rating/percentage": 0.9})
    assert metrics["mine/percentage"] == metrics.get("mine/percentage") == 0.1


def test_an_unknown_metric_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(KeyError, match="this run has: m/average"):
        Metrics({"m/average": 1.0})["n/average"]
    with pytest.raises(KeyError, match="this run has: none"):
        Metrics()["n/average"]
