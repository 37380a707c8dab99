"""The verdict of a condition, and of several."""

from __future__ import annotations

import pytest

from langchain_dbx_eval.reporting.gate.conditions import parse_condition
from langchain_dbx_eval.reporting.gate.verdicts import Measurement, Verdict, combine, decide
from langchain_dbx_eval.scoring.statistics import Interval, wilson_interval

PASS, REGRESSION, INCONCLUSIVE, COULD_NOT_RUN = Verdict


def share(successes: int, n: int, total: int | None = None) -> Measurement:
    return Measurement("m", successes / n, wilson_interval(successes, n), n, total or n)


@pytest.mark.parametrize(
    ("text", "successes", "n", "verdict"),
    [
        # The value decides, whatever its interval.
        ("m >= 0.9", 9, 10, PASS),
        ("m >= 0.9", 89, 100, REGRESSION),
        ("m <= 0.1", 1, 10, PASS),
        ("m <= 0.1", 2, 10, REGRESSION),
        # The bound must hold: [0.72, 1], [0.83, 0.94], [0.91, 0.97], [0.74, 0.88].
        ("m >= 0.9 @ lower", 10, 10, INCONCLUSIVE),
        ("m >= 0.9 @ lower", 90, 100, INCONCLUSIVE),
        ("m >= 0.9 @ lower", 190, 200, PASS),
        ("m >= 0.9 @ lower", 82, 100, REGRESSION),
        ("m <= 0.02 @ upper", 0, 100, INCONCLUSIVE),
        ("m <= 0.02 @ upper", 0, 200, PASS),
        ("m <= 0.02 @ upper", 10, 100, REGRESSION),
        # The other bound: fails only if the threshold is missed with confidence.
        ("m >= 0.9 @ upper", 85, 100, PASS),
        ("m >= 0.9 @ upper", 82, 100, REGRESSION),
        ("m <= 0.1 @ lower", 15, 100, PASS),
        ("m <= 0.1 @ lower", 20, 100, REGRESSION),
    ],
)
def test_the_value_decides_or_the_bound_of_the_interval(
    text: str, successes: int, n: int, verdict: Verdict
) -> None:
    assert decide(parse_condition(text), share(successes, n)).verdict is verdict


def test_an_inconclusive_condition_shows_how_many_rows_decide_it() -> None:
    condition = parse_condition("m >= 0.9 @ lower")
    few = decide(condition, share(92, 100))
    assert few.required_rows is not None
    assert f"about {few.required_rows:,} rows decide it, if 0.92 is the true value" in few.message
    # With that number of rows, 0.92 is enough.
    assert decide(condition, share(round(0.92 * few.required_rows), few.required_rows)).verdict is (
        PASS
    )
    below = decide(condition, share(88, 100))
    assert below.required_rows is not None
    rows = below.required_rows
    assert decide(condition, share(round(0.88 * rows), rows)).verdict is REGRESSION


def test_no_number_of_rows_decides_a_value_equal_to_the_threshold() -> None:
    checked = decide(parse_condition("m >= 0.9 @ lower"), share(90, 100))
    assert (checked.verdict, checked.required_rows) == (INCONCLUSIVE, None)
    assert "no number of rows" in checked.message


def test_a_value_without_an_interval_has_no_bound() -> None:
    alone = Measurement("m", 1.0, None, 5, 5)
    assert decide(parse_condition("m >= 0.9 @ lower"), alone).verdict is INCONCLUSIVE
    assert decide(parse_condition("m >= 0.9"), alone).verdict is PASS


def test_a_value_of_too_few_rows_decides_nothing() -> None:
    p95 = Measurement("latency", 1.0, None, 10, 10, least_rows=20, label="p95")
    checked = decide(parse_condition("latency p95 < 2 s"), p95)
    assert (checked.verdict, checked.required_rows) == (INCONCLUSIVE, 20)
    assert "p95 needs at least 20 rows" in checked.message


def test_rows_without_a_value_are_always_mentioned() -> None:
    checked = decide(parse_condition("m >= 0.9"), share(48, 50, total=100))
    assert checked.verdict is PASS
    assert "50 of 100 rows; 50 rows have no value and do not count" in checked.message
    assert "no value" not in decide(parse_condition("m >= 0.9"), share(48, 50)).message


@pytest.mark.parametrize(
    ("verdicts", "whole"),
    [
        ([PASS, PASS], PASS),
        ([PASS, INCONCLUSIVE], INCONCLUSIVE),
        ([INCONCLUSIVE, COULD_NOT_RUN, PASS], COULD_NOT_RUN),
        ([COULD_NOT_RUN, REGRESSION, INCONCLUSIVE], REGRESSION),
    ],
)
def test_a_failure_decides_otherwise_what_is_least_known(
    verdicts: list[Verdict], whole: Verdict
) -> None:
    assert combine(verdicts) is whole


def test_the_exit_codes_differ_and_are_not_those_of_a_usage_error() -> None:
    codes = {verdict: verdict.exit_code for verdict in Verdict}
    assert codes == {PASS: 0, COULD_NOT_RUN: 1, REGRESSION: 3, INCONCLUSIVE: 4}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.82, "0.82 [0.74, 0.88], 96 of 100 rows"),
        # Rounded to 0.9 it would seem to pass.
        (0.89996, "0.89996 [0.74, 0.88], 96 of 100 rows"),
        (1234.6, "1235 [0.74, 0.88], 96 of 100 rows"),
    ],
)
def test_the_numbers_are_shown_on_their_side_of_the_threshold(value: float, text: str) -> None:
    measured = Measurement("m", value, Interval(0.74, 0.88), 96, 100)
    assert measured.describe(parse_condition("m >= 0.9")) == text


def test_the_value_with_failures_as_zeros_is_shown_if_rows_are_missing() -> None:
    half = Measurement("m", 1.0, None, 50, 100, failures_as_zero=0.5)
    message = decide(parse_condition("m >= 0.9"), half).message
    assert "50 rows have no value and do not count (0.5 if they count as 0)" in message
