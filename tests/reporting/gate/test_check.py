"""Checks of evaluations and comparisons."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from typing import Any

import pytest

from langchain_dbx_eval import EvaluationResult, compare, evaluate
from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.evaluation.journal.store import Journal
from langchain_dbx_eval.reporting import Verdict
from langchain_dbx_eval.reporting.gate import CheckedCondition
from langchain_dbx_eval.scoring import scorer
from langchain_dbx_eval.scoring.statistics import mean_interval
from tests.scoring.scripted_judge import ScriptedJudge, verdict

pytestmark = pytest.mark.usefixtures("mlflow_store")
PASS, REGRESSION, INCONCLUSIVE, COULD_NOT_RUN = Verdict
MATCH = "response/ground_truth/exact_match/average"


def records(count: int) -> list[dict[str, Any]]:
    return [
        {"request_id": f"r{n}", "request": str(n), "expected_response": "right"}
        for n in range(count)
    ]


def answered(count: int, right: int, **options: Any) -> EvaluationResult:
    """Evaluate recorded answers, of which the first ones are right."""
    rows = [
        {**row, "response": "right" if n < right else "wrong"}
        for n, row in enumerate(records(count))
    ]
    return evaluate(data=rows, **options)


def invoked(
    count: int, failing: Collection[int] = (), answer: Callable[[int], Any] = lambda n: "right"
) -> EvaluationResult:
    def model(model_input: dict[str, Any]) -> Any:
        number = int(model_input["messages"][-1]["content"])
        if number in failing:
            raise ValueError("out of memory")
        return answer(number)

    return evaluate(model, records(count))


def only(result: EvaluationResult, condition: str) -> CheckedCondition:
    [checked] = result.check(condition).conditions
    return checked


def test_a_name_that_two_scorers_share_is_ambiguous() -> None:
    @scorer(name="correctness")
    def same(response: str, expected_response: str) -> bool:
        return response == expected_response

    config = {"databricks-agent": {"metrics": ["correctness"]}}
    result = answered(4, 2, extra_metrics=[same], evaluator_config=config, judge=ScriptedJudge())
    with pytest.raises(KeyError, match=r"it may be: .* or "):
        result.summary["correctness"]
    with pytest.raises(ConfigurationError, match=r"is ambiguous: 'correctness' may be .* or "):
        result.check("correctness >= 0.5")


def test_the_value_of_a_condition_is_that_of_the_summary() -> None:
    result = answered(100, 82)
    checked = only(result, "exact_match >= 0.9 @ lower")
    summary = result.summary["exact_match"]
    assert summary is result.summary[MATCH]
    assert checked.verdict is REGRESSION
    assert checked.measurement is not None
    assert (checked.measurement.value, checked.measurement.interval) == (0.82, summary.interval)
    assert (checked.measurement.n, checked.measurement.total) == (100, 100)
    assert checked.message.startswith("0.82 [0.733, 0.883], 100 of 100 rows")


@pytest.mark.parametrize("name", [MATCH, "exact_match", "exact_match/mean"])
def test_a_metric_has_its_full_name_or_a_short_one(name: str) -> None:
    assert only(answered(4, 3), f"{name} >= 0.75").verdict is PASS


def test_a_report_has_the_verdict_of_all_conditions() -> None:
    result = answered(100, 82)
    report = result.check("exact_match >= 0.8", "exact_match >= 0.8 @ lower")
    assert [checked.verdict for checked in report.conditions] == [PASS, INCONCLUSIVE]
    assert (report.verdict, report.passed, report.exit_code) == (INCONCLUSIVE, False, 4)
    assert report.headline == "inconclusive: 1 of 2 conditions pass"
    assert result.check("exact_match >= 0.8").passed


def test_a_chain_that_fails_on_half_of_its_rows_does_not_pass_unnoticed() -> None:
    result = invoked(20, failing=range(10))
    report = result.check("exact_match >= 0.9")
    assert report.headline.startswith("10 of 20 rows failed (ValueError 10). pass:")
    [checked] = report.conditions
    assert checked.message == (
        "1 [0.722, 1], 10 of 20 rows; 10 rows have no value and do not count "
        "(0.5 if they count as 0)"
    )
    assert result.check("exact_match >= 0.9", failures="zero").verdict is REGRESSION
    assert result.check("exact_match >= 0.9", "rows/failed <= 5 %").verdict is REGRESSION
    assert only(result, "exact_match coverage >= 99 %").verdict is REGRESSION


def test_failed_and_empty_rows_are_counted_or_a_share() -> None:
    result = invoked(100, failing=[0, 1], answer=lambda n: None if n in (2, 3, 4) else "right")
    assert only(result, "rows/failed <= 2").verdict is PASS
    assert only(result, "rows/failed <= 1").message == "2 of 100 rows"
    assert only(result, "rows/failed < 2 %").verdict is REGRESSION
    assert only(result, "rows/empty <= 3 %").verdict is PASS
    upper = only(result, "rows/empty <= 3 % @ upper")
    assert upper.verdict is INCONCLUSIVE
    assert upper.measurement is not None
    assert upper.measurement.interval == mean_interval([1] * 3 + [0] * 97)
    with pytest.raises(ConfigurationError, match="Write a share of the rows in %"):
        result.check("rows/failed <= 2 @ upper")


def test_each_count_of_rows_is_also_a_share() -> None:
    def judge_of_some_rows(messages: list[Any]) -> Any:
        return RuntimeError("down") if "r1" in str(messages) else verdict("yes")

    rows = [
        {"request": f"r{n}", "response": answer, "expected_response": "right"}
        for n, answer in enumerate(["right", "right", "", "right"])
    ]
    config = {"databricks-agent": {"metrics": ["correctness"]}}
    judge = ScriptedJudge(script=judge_of_some_rows)
    result = evaluate(data=[*rows, {"request": "q"}], judge=judge, evaluator_config=config)
    counts = {name: n for name, n in result.metrics.items() if name.startswith("rows/")}
    assert set(counts.values()) == {5, 3, 1}
    for name, count in counts.items():
        measured = only(result, f"{name} >= 0 %").measurement
        assert measured is not None
        assert measured.value == count / 5


def test_quantiles_are_those_of_the_rows() -> None:
    @scorer
    def length(outputs: str) -> float:
        return float(outputs)

    result = evaluate(
        data=[{"request": str(n), "response": str(n)} for n in range(101)], scorers=[length]
    )
    assert only(result, "length p95 <= 95").verdict is PASS
    assert only(result, "length p95 < 95").verdict is REGRESSION
    assert only(result, "length p95 <= 120 @ upper").verdict is PASS
    assert only(result, "length p95 <= 95 @ upper").verdict is INCONCLUSIVE
    rare = only(result, "length p99.5 <= 1000")
    assert (rare.verdict, rare.required_rows) == (INCONCLUSIVE, 200)
    bound = only(result, "length p99 <= 1000 @ upper")
    assert (bound.verdict, bound.required_rows) == (INCONCLUSIVE, 500)


def test_latency_has_units_of_time() -> None:
    result = invoked(20)
    latency = result.metrics["agent/latency_seconds/average"]
    for condition in ("latency < 60 s", "latency < 60000 ms", "latency p95 < 60 s"):
        assert only(result, condition).verdict is PASS
    assert only(result, f"latency < {latency * 500} ms").verdict is REGRESSION


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("exact_match >= 900 ms", "exact_match/average is not measured in ms"),
        ("exact_match >= 1 USD", "is not measured in USD"),
        ("latency <= 90 %", "agent/latency_seconds/average is not measured in %"),
        ("exact_match >= baseline - 0.02", r"compare\(result, baseline\).check"),
        ("exact_match => 0.9", "exactly one of the operators"),
    ],
)
def test_a_condition_that_makes_no_sense_is_an_error(condition: str, expected: str) -> None:
    with pytest.raises(ConfigurationError, match=expected):
        invoked(3).check(condition)


def test_a_check_without_conditions_is_an_error() -> None:
    result = answered(2, 1)
    with pytest.raises(ConfigurationError, match="at least one condition"):
        result.check()
    with pytest.raises(ConfigurationError, match="at least one condition"):
        compare(result, result).check()


def test_a_name_of_two_metrics_is_an_error_that_shows_both() -> None:
    @scorer
    def exact_match(outputs: str) -> bool:
        return outputs == "right"

    result = answered(2, 1, scorers=[*evaluate.__kwdefaults__["scorers"], exact_match])
    with pytest.raises(ConfigurationError, match=f"{MATCH} or metric/exact_match"):
        result.check("exact_match >= 0.9")
    assert only(result, f"{MATCH} >= 0.5").verdict is PASS


def test_an_absent_metric_could_not_run_and_shows_similar_names() -> None:
    result = answered(3, 3)
    checked = only(result, "exact_mach >= 0.9")
    assert checked.verdict is COULD_NOT_RUN
    assert checked.message == (f"this evaluation has no metric 'exact_mach'; similar: {MATCH}")
    assert "it has: " in only(result, "zzz >= 0.9").message
    assert only(result, "tokens p95 <= 10").message == "no row has agent/total_token_count"
    assert "did not run on 3 rows: no judge" in only(result, "correctness >= 0.9").message


def test_a_judge_that_failed_on_all_rows_could_not_run() -> None:
    def broken(messages: Any) -> str:
        raise RuntimeError("the judge is down")

    judge = ScriptedJudge(script=broken)
    config = {"databricks-agent": {"metrics": ["correctness"]}}
    result = answered(3, 3, judge=judge, evaluator_config=config)
    checked = only(result, "correctness >= 0.9")
    assert checked.verdict is COULD_NOT_RUN
    assert "the scorer 'correctness' failed on all 3 rows" in checked.message


def test_all_rows_failed_could_not_run() -> None:
    report = invoked(4, failing=range(4)).check("exact_match >= 0.9", "rows/failed <= 2 %")
    assert [checked.verdict for checked in report.conditions] == [COULD_NOT_RUN, REGRESSION]
    assert "all 4 rows failed" in report.conditions[0].message


def test_an_incomplete_evaluation_could_not_run() -> None:
    result = answered(3, 3)
    Journal(result.journal).update_manifest(complete=False)
    report = EvaluationResult.load(result.journal).check("exact_match >= 0.9")
    assert report.verdict is COULD_NOT_RUN
    assert f"continue with evaluate(…, resume={result.run_id!r})" in report.conditions[0].message


def test_failing_records_have_their_reasons() -> None:
    judge = ScriptedJudge(script=lambda messages: verdict("no", "It is wrong."))
    config = {"databricks-agent": {"metrics": ["correctness"]}}
    rows = [
        {"request_id": "bad", "request": "q", "response": "x", "expected_response": "right"},
        {"request_id": "failed", "request": "q2", "expected_response": "right"},
    ]
    result = evaluate(data=rows, judge=judge, evaluator_config=config)
    bad, failed = result.check("exact_match >= 0.9").records
    assert (bad.request_id, bad.request, bad.response) == ("bad", "q", "x")
    overall, match = sorted(bad.reasons, reverse=True)
    assert overall.startswith("overall assessment: no (Root cause: correctness. It is wrong.")
    assert match == "exact_match: 0, which does not meet exact_match >= 0.9"
    [reason] = failed.reasons
    assert reason.startswith("The invocation failed: ")
    assert "expected: right" in str(bad)


def test_repeated_rows_are_one_cluster() -> None:
    # All rows of a record agree, so 10 records of 5 rows have the interval of 10 rows.
    result = answered(10, 9, repeat=5)
    measured = only(result, "exact_match >= 0.5 @ lower").measurement
    assert measured is not None
    assert measured.interval == result.summary[MATCH].interval
    assert measured.interval is not None
    assert measured.interval.low < 0.61
    failures = result.check("exact_match >= 0.5").records
    assert [record.name for record in failures][:2] == ["r9", "r9 (repetition 2)"]


def test_a_margin_demands_non_inferiority() -> None:
    baseline = answered(200, 180)
    for right, expected in ((180, PASS), (150, REGRESSION), (175, INCONCLUSIVE)):
        comparison = compare(answered(200, right), baseline, primary=MATCH, margin=0.05)
        report = comparison.check()
        [checked] = report.conditions
        assert checked.condition.text == f"{MATCH} > baseline - 0.05 @ lower"
        assert checked.verdict is expected
        assert comparison[MATCH].non_inferior is (expected is PASS)
    assert checked.required_rows is not None
    # Another margin than that of the comparison.
    assert comparison.check(margin=0.2).verdict is PASS
    assert comparison.check(margin={"exact_match/mean": 0.2}).verdict is PASS


def test_a_margin_of_failures_is_an_increase() -> None:
    baseline = invoked(100)
    comparison = compare(invoked(100, failing=range(30)), baseline)
    report = comparison.check(margin={"rows/failed/percentage": 0.02})
    assert report.conditions[0].condition.text == (
        "rows/failed/percentage < baseline + 0.02 @ upper"
    )
    assert report.verdict is REGRESSION


def test_conditions_compare_with_the_baseline_on_paired_rows() -> None:
    comparison = compare(invoked(100, failing=range(4)), answered(100, 90))
    report = comparison.check(
        "exact_match >= baseline - 0.02 @ lower",
        "exact_match >= 0.9",
        "rows/failed <= baseline + 2 %",
        "latency p80 <= baseline + 1 s",
    )
    verdicts = [checked.verdict for checked in report.conditions]
    assert verdicts == [PASS, PASS, REGRESSION, COULD_NOT_RUN]
    assert "96 of 100 rows; 4 rows have no value" in report.conditions[0].message


def test_latency_quantiles_compare_with_the_baseline() -> None:
    comparison = compare(invoked(20), invoked(20))
    p95 = comparison.check("latency p95 <= baseline + 60 s").conditions[0]
    assert p95.verdict is PASS
    assert p95.message.startswith("difference of p95 ")
    bound = comparison.check("latency p95 <= baseline + 60 s @ upper").conditions[0]
    assert (bound.verdict, bound.required_rows) == (INCONCLUSIVE, 100)


def test_a_record_that_passed_in_the_baseline_is_a_failing_record() -> None:
    comparison = compare(answered(20, 8), answered(20, 10))
    report = comparison.check("exact_match >= baseline")
    assert [record.request_id for record in report.records] == ["r8", "r9"]
    assert report.records[0].reasons == (f"{MATCH}: 1 in the baseline, 0 now",)


def test_the_report_is_json() -> None:
    report = answered(100, 82).check("exact_match >= 0.8 @ lower", "no_such_metric >= 1")
    values = json.loads(report.to_json())
    assert (values["verdict"], values["exit_code"]) == ("could not run", 1)
    first, second = values["conditions"]
    assert first["metric"] == MATCH
    assert first["required_rows"] == report.conditions[0].required_rows
    assert second["value"] is None
    assert len(values["records"]) == 18
