"""The grammar of conditions."""

from __future__ import annotations

from typing import Any

import pytest

from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.reporting.gate.conditions import parse_condition


@pytest.mark.parametrize(
    ("text", "metric", "operator", "threshold", "others"),
    [
        ("correctness >= 0.9", "correctness", ">=", 0.9, {}),
        ("correctness>=90%", "correctness", ">=", 0.9, {"unit": "%"}),
        ("a/b-c.d/mean > .5 @ lower", "a/b-c.d/mean", ">", 0.5, {"bound": "lower"}),
        ("rows/failed <= 2 %", "rows/failed", "<=", 0.02, {"unit": "%"}),
        ("latency p95 < 1500 ms", "latency", "<", 1.5, {"unit": "ms", "quantile": 0.95}),
        ("latency p99.9 < 2 s @ upper", "latency", "<", 2, {"quantile": 0.999, "bound": "upper"}),
        ("cost <= 1e-3 USD", "cost", "<=", 0.001, {"unit": "USD"}),
        ("my scorer coverage >= 99 %", "my scorer", ">=", 0.99, {"is_coverage": True}),
        ("pH > -2", "pH", ">", -2, {"quantile": None}),
        ("f1 >= baseline", "f1", ">=", 0, {"to_baseline": True}),
        ("f1 >= baseline - 2 % @ lower", "f1", ">=", -0.02, {"to_baseline": True}),
        ("latency p95 <= baseline+0.5 s", "latency", "<=", 0.5, {"to_baseline": True}),
    ],
)
def test_a_condition_is_parsed(
    text: str, metric: str, operator: str, threshold: float, others: dict[str, Any]
) -> None:
    condition = parse_condition(text)
    assert (condition.metric, condition.operator) == (metric, operator)
    assert condition.threshold == pytest.approx(threshold)
    assert {name: getattr(condition, name) for name in others} == others
    assert str(condition) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("correctness", "exactly one of the operators"),
        ("", "exactly one of the operators"),
        ("correctness => 0.9", "exactly one of the operators"),
        ("correctness == 0.9", "exactly one of the operators"),
        ("0.8 <= correctness <= 0.9", "exactly one of the operators"),
        (">= 0.9", "exactly one of the operators"),
        ("correctness >= ", "exactly one of the operators"),
        ("correctness >= high", "'high' is neither a number nor 'baseline'"),
        ("correctness >= nan", "'nan' is neither"),
        ("correctness >= 1,000", "the unit is ','|',000' is neither|'1,000' is neither"),
        ("correctness >= baseline * 2", "neither a number"),
        ("correctness >= baseline - x", "'x' is neither a number"),
        ("latency < 2 hours", "the unit is 'hours'; use one of %, ms, s and USD"),
        ("correctness >= 0.9 @ low", "the bound after '@' is 'low'; use 'lower' or 'upper'"),
        ("correctness >= 0.9 @", "the bound after '@' is ''"),
        ("correctness >= 0.9 lower", "neither|unit"),
        ("latency p100 < 2 s", "the quantile is 'p100'"),
        ("latency p9.5.1 < 2 s", "the quantile is 'p9.5.1'"),
        ("f1 coverage >= 0.9 @ lower", "the coverage is counted"),
        (0.9, "it is a float, not a string"),
    ],
)
def test_another_text_is_an_error_that_names_the_part_and_shows_examples(
    text: Any, expected: str
) -> None:
    with pytest.raises(ConfigurationError, match=expected) as error:
        parse_condition(text)
    assert f"The condition {text!r} is invalid" in str(error.value)
    assert "'latency p95 < 2 s'" in str(error.value)


@pytest.mark.parametrize(
    ("text", "holds", "fails"),
    [
        ("m >= 0.9", (0.9, 0.9 - 1e-12, 0.95), (0.89,)),
        ("m > 0.9", (0.91,), (0.9, 0.9 + 1e-12)),
        ("m <= 0.3", (0.1 + 0.2, 0.3, 0), (0.31,)),
        ("m < 0.3", (0.29,), (0.1 + 0.2, 0.3)),
    ],
)
def test_rounding_errors_decide_nothing(
    text: str, holds: tuple[float, ...], fails: tuple[float, ...]
) -> None:
    condition = parse_condition(text)
    assert all(condition.holds(number) for number in holds)
    assert not any(condition.holds(number) for number in fails)
