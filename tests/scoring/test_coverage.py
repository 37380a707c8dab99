"""What a metric covers: failed rows, empty answers, errors of judges; and its interval."""

from __future__ import annotations

import re
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from scipy import stats

from langchain_dbx_eval.datasets import EvalRecord
from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.scoring import Assessment, Outcome, RowScores, Skip
from langchain_dbx_eval.scoring.aggregates import RowResult, Summary, summarize
from langchain_dbx_eval.scoring.statistics import mean_interval, pass_at_k, pass_hat_k

SCORE = "response/ground_truth/exact_match"


def record(request: str = "q", **columns: Any) -> EvalRecord:
    return EvalRecord(request=request, **{"expected_response": "x", **columns})


def scored(value: float | None, request: str = "q", **columns: Any) -> RowResult:
    assessment = Assessment(name="exact_match", column=SCORE, value=value)
    return RowResult(Outcome(response="a"), RowScores((assessment,)), record(request, **columns))


def failed(error: str = "ValueError: x", request: str = "q", **columns: Any) -> RowResult:
    return RowResult(Outcome(error=error), RowScores(), record(request, **columns))


def test_rows_are_counted_by_outcome_and_failures_by_class() -> None:
    errors = ["ValueError: 1", "TimeoutError", "TimeoutError: no answer within 5 s (timeout=)"]
    errors += ["langchain.errors.Rate: 429", "This row has no response (…)."]
    empty = RowResult(Outcome(response=" \n"), RowScores())
    summary = summarize([scored(1.0), empty, *map(failed, errors)])
    rows = summary.rows
    assert (rows.total, rows.answered, rows.failed, rows.empty) == (7, 1, 5, 1)
    assert next(iter(summary.failures.items())) == ("TimeoutError", 2)
    assert dict(summary.failures) == {
        "TimeoutError": 2,
        "ValueError": 1,
        "langchain.errors.Rate": 1,
        "This row has no response (…).": 1,
    }
    names = ("total", "answered", "failed", "empty")
    assert [summary.metrics[f"rows/{name}"] for name in names] == [7, 1, 5, 1]
    assert summary["rows/failed"].value == 5


def test_a_metric_has_its_interval_and_its_coverage() -> None:
    rows = [scored(float(n > 17), f"q{n}") for n in range(96)]
    rows += [failed(request=f"f{n}") for n in range(4)]
    metric = summarize(rows)[f"{SCORE}/average"]
    assert (metric.n, metric.total, metric.clusters) == (96, 100, 96)
    theirs = stats.binomtest(78, 96).proportion_ci(method="wilson")
    assert metric.interval == pytest.approx((theirs.low, theirs.high), rel=1e-9)
    assert str(metric) == "0.81 [0.72, 0.88], 96 of 100 rows"
    assert metric.name == f"{SCORE}/average"


def test_an_interval_does_not_reach_beyond_what_a_metric_can_be() -> None:
    rows = [
        scored(value, str(seconds))._replace(outcome=Outcome(response="a", latency_seconds=seconds))
        for value, seconds in ((0.1, 0.1), (0.9, 0.2), (1.0, 5.0))
    ]
    summary = summarize(rows)
    unlimited = mean_interval([0.1, 0.9, 1.0])
    assert unlimited is not None
    assert (unlimited.low < 0, unlimited.high > 1) == (True, True)
    assert summary["exact_match"].interval == (0.0, 1.0)
    latency = summary["agent/latency_seconds/average"].interval
    assert latency is not None
    assert latency.low == 0.0


def test_a_metric_is_read_by_its_alias_and_an_unknown_one_lists_the_known() -> None:
    summary = summarize([scored(1.0)])
    assert summary["exact_match/mean"] == summary[f"{SCORE}/average"]
    with pytest.raises(KeyError, match=f"nothing .this run has: {SCORE}/average, rows/total"):
        summary["nothing"]


@pytest.mark.parametrize(
    ("value", "text"), [(0.9996, "0.9996"), (1.0, "1.00"), (0.0, "0.00"), (1523.4, "1523")]
)
def test_a_number_below_one_is_not_shown_as_one(value: float, text: str) -> None:
    shown = str(summarize([scored(value)])[f"{SCORE}/average"])
    assert re.split("[ ,]", shown)[0] == text


def test_failed_rows_are_excluded_or_count_as_zero() -> None:
    rows = [scored(1.0, "a"), scored(1.0, "b"), failed(request="c"), failed(request="d")]
    summary = summarize(rows)
    assert summary[f"{SCORE}/average"].value == summary.metrics[f"{SCORE}/average"] == 1.0
    assert summary[f"{SCORE}/average"].failures_as_zero == 0.5
    metric = summarize(rows, failures="zero")[f"{SCORE}/average"]
    assert (metric.value, metric.n, metric.total) == (0.5, 4, 4)
    with pytest.raises(ConfigurationError, match="'failures' must be"):
        summarize(rows, failures="ignore")  # type: ignore[arg-type]


def test_a_failed_row_counts_only_where_the_scorer_applies() -> None:
    without = {"expected_response": None}
    other = RowResult(Outcome(response="a"), RowScores(), record("b", **without))
    rows = [scored(1.0, "a"), other, failed(request="c", **without), failed(request="d")]
    assert summarize(rows)[f"{SCORE}/average"].coverage == "1 of 2 rows"
    # No other row tells whether the scorer applies.
    del rows[1]
    assert summarize(rows)[f"{SCORE}/average"].coverage == "1 of 3 rows"


def test_an_error_of_a_scorer_is_a_row_that_its_metrics_do_not_cover() -> None:
    def answered(*assessments: Assessment, skipped: tuple[Skip, ...] = ()) -> RowResult:
        return RowResult(Outcome(response="a"), RowScores(assessments, skipped), None)

    two = [Assessment(name=f"s/{n}", column=f"metric/s/{n}", value=1.0) for n in "ab"]
    broken = Assessment(name="s", column="metric/s", error="KeyError: 'x'")
    skip = Skip("s", "expected_response", "metric/s")
    summary = summarize([answered(*two), answered(broken), answered(skipped=(skip,))])
    for name in "ab":
        assert summary[f"metric/s/{name}/average"].coverage == "1 of 2 rows"
    # That is not a failure of the model.
    assert summary["metric/s/a/average"].failures_as_zero == 1.0


def test_latency_and_tokens_are_those_of_the_rows_that_did_not_fail() -> None:
    fast = RowResult(Outcome(error="ValueError: x", latency_seconds=0.001), RowScores())
    slow = RowResult(Outcome(response="a", latency_seconds=2.0), RowScores())
    metric = summarize([fast, slow])["agent/latency_seconds/average"]
    assert (metric.value, metric.coverage) == (2.0, "1 of 2 rows")
    assert metric.failures_as_zero is None


VALUES = {"a": [1, 1, 0], "b": [1, 1, 1], "c": [0, 0, 0], "d": [1, 0, 1]}


def repeated() -> list[RowResult]:
    return [
        scored(float(value), name, metadata={"document": "ab" if name in "ab" else name})
        for name, values in VALUES.items()
        for value in values
    ]


def flat() -> list[int]:
    return [value for values in VALUES.values() for value in values]


def test_repetitions_of_a_record_are_a_cluster() -> None:
    metric = summarize(repeated())[f"{SCORE}/average"]
    assert (metric.n, metric.clusters) == (12, 4)
    assert metric.interval == mean_interval(flat(), [n for n in VALUES for _ in range(3)])
    assert metric.interval != mean_interval(flat())


@pytest.mark.parametrize("cluster", ["document", lambda record: record.metadata["document"]])
def test_a_column_or_a_function_selects_other_clusters(cluster: Any) -> None:
    metric = summarize(repeated(), cluster=cluster)[f"{SCORE}/average"]
    assert metric.clusters == 3
    assert metric.interval == mean_interval(flat(), [*"aaaaaa", *"ccc", *"ddd"])


def test_a_cluster_column_that_no_record_has_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="No record has the column 'page'"):
        summarize(repeated(), cluster="page")


def test_repetitions_have_means_per_record_and_pass_rates() -> None:
    repeats = summarize(repeated())[f"{SCORE}/average"].repeats
    assert repeats is not None
    assert list(repeats.record_means.values()) == [2 / 3, 1.0, 0.0, 2 / 3]
    passed = [sum(values) for values in VALUES.values()]
    for k in (1, 2, 3):
        at, hat = repeats.pass_at[k], repeats.pass_hat[k]
        assert at.value == pytest.approx(sum(pass_at_k(3, c, k) for c in passed) / 4)
        assert hat.value == pytest.approx(sum(pass_hat_k(3, c, k) for c in passed) / 4)
        assert at.interval is not None
        assert hat.interval is not None
        assert 0 <= hat.interval.low < hat.value <= at.value <= at.interval.high <= 1
        assert at.records == 4
    assert repeats.variance is not None
    assert repeats.variance.between > 0 < repeats.variance.within
    assert summarize([scored(1.0, "a"), scored(0.0, "b")])[f"{SCORE}/average"].repeats is None


def test_a_score_that_is_no_share_has_no_pass_rate() -> None:
    repeats = summarize([scored(0.5), scored(0.7)])[f"{SCORE}/average"].repeats
    assert repeats is not None
    assert (repeats.pass_at, repeats.pass_hat) == ({}, {})


@pytest.mark.parametrize(
    "response",
    [
        None,
        "",
        " \n\t",
        AIMessage(""),
        AIMessage([{"type": "reasoning", "reasoning": "hm"}]),
        {"content": None},
        {"content": ""},
        {"messages": [HumanMessage("q"), AIMessage("")]},
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": None}]},
        {"choices": [{"message": {"role": "assistant", "content": None}}]},
        {"output": [{"type": "message", "role": "assistant", "content": []}]},
    ],
)
def test_a_response_that_contains_nothing_is_empty(response: Any) -> None:
    assert Outcome(response=response).is_empty
    assert not Outcome(response=response, error="ValueError: x").is_empty


CALL = {"id": "1", "name": "search", "args": {}}


@pytest.mark.parametrize(
    "response",
    [
        0,
        False,
        {},
        "0",
        AIMessage("", tool_calls=[CALL]),
        AIMessage([{"type": "image", "url": "x"}]),
        {"choices": [{"message": {"content": None, "tool_calls": [CALL]}}]},
        {"choices": [{"message": {"content": None, "refusal": "no"}}]},
        {"messages": [AIMessage("", tool_calls=[CALL])]},
        {"output": [{"type": "function_call", "name": "search", "arguments": "{}"}]},
    ],
)
def test_a_number_a_tool_call_an_image_or_a_refusal_is_not_empty(response: Any) -> None:
    assert not Outcome(response=response).is_empty


def test_a_run_without_rows_has_no_metrics_but_counts() -> None:
    summary = summarize([])
    assert isinstance(summary, Summary)
    assert summary.metrics == {f"rows/{n}": 0 for n in ("total", "answered", "failed", "empty")}
