"""What `compare` concludes from paired rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage

from langchain_dbx_eval import EvaluationResult, compare, errors, evaluate
from langchain_dbx_eval.scoring import scorer
from langchain_dbx_eval.scoring.statistics import compare_pairs, holm, mcnemar
from tests.scoring.scripted_judge import ScriptedJudge, verdict

pytestmark = pytest.mark.usefixtures("mlflow_store")
MATCH = "response/ground_truth/exact_match/average"
F1 = "response/ground_truth/token_f1/average"
FAILED = "rows/failed/percentage"
OVERALL = "response/overall_assessment/rating/percentage"


def records(count: int) -> list[dict[str, Any]]:
    return [
        {
            "request_id": f"r{n}",
            "request": str(n),
            "expected_response": "right",
            "document": n // 4,
            "topic": "even" if n % 2 == 0 else "odd",
        }
        for n in range(count)
    ]


def answered(data: list[dict[str, Any]], is_right: Callable[[int], bool], **options: Any) -> Any:
    rows = [{**row, "response": "right" if is_right(n) else "wrong"} for n, row in enumerate(data)]
    return evaluate(data=rows, **options)


def failing(data: list[dict[str, Any]], fails: Callable[[int], bool]) -> EvaluationResult:
    def model(model_input: dict[str, Any]) -> str:
        number = int(model_input["messages"][-1]["content"])
        if fails(number):
            raise ValueError("out of memory")
        return "right" if number % 4 else "wrong"

    return evaluate(model, data)


def test_each_metric_has_a_difference_with_an_interval_and_a_test() -> None:
    data = records(20)
    baseline = answered(data, lambda n: n < 8)
    comparison = compare(answered(data, lambda n: 2 <= n < 17), baseline)
    match = comparison[MATCH]
    assert (match.baseline, match.candidate, match.pairs) == (0.4, 0.75, 20)
    assert match.difference == pytest.approx(0.35)
    assert match.p_value == pytest.approx(mcnemar(9, 2))
    assert match.interval == compare_pairs([0] * 9 + [1] * 11, [1] * 9 + [0] * 2 + [1] * 9).interval
    # Both metrics of these answers are equal, and Holm's correction counts both.
    assert match.p_adjusted == pytest.approx(2 * mcnemar(9, 2))
    assert comparison[F1].p_adjusted == match.p_adjusted
    assert not match.is_significant
    assert match.minimum_detectable_effect > 0.3
    assert match.required_pairs(0.1) > 100


def test_answers_of_one_token_are_amounts_in_summary_comparison_and_gate() -> None:
    tokens = "agent/total_output_token_count/average"
    usage = {"input_tokens": 3, "output_tokens": 1, "total_tokens": 4}
    answer = AIMessage("right", usage_metadata=usage)
    result = evaluate(FakeMessagesListChatModel(responses=[answer]), records(6))
    assert result.summary[tokens].interval == (1.0, 1.0)
    assert compare(result, result)[tokens].interval == (0.0, 0.0)
    assert result.check(f"{tokens} <= 1 @ upper").passed


def test_the_primary_metric_is_not_adjusted() -> None:
    data = records(12)
    results = answered(data, lambda n: n < 11), answered(data, lambda n: n < 4)
    comparison = compare(*results, primary=MATCH)
    assert comparison.primary == MATCH
    assert comparison[MATCH].p_adjusted == comparison[MATCH].p_value == mcnemar(7, 0)
    assert comparison[MATCH].is_significant
    with pytest.raises(errors.ConfigurationError, match=r"'primary'.*no_such_metric"):
        compare(*results, primary="no_such_metric")


def test_a_chain_that_fails_on_half_of_its_rows_does_not_improve() -> None:
    data = records(40)
    baseline = failing(data, lambda n: False)
    comparison = compare(failing(data, lambda n: n % 4 in (0, 1)), baseline)
    match = comparison[MATCH]
    # The rows that both answered have equal answers; those that failed are counted.
    assert (match.difference, match.pairs, match.only_baseline) == (0, 20, 20)
    failed = comparison[FAILED]
    assert (failed.baseline, failed.candidate) == (0, 0.5)
    assert failed.is_significant
    causes = {flip.root_cause_after for flip in comparison.flips if flip.metric == FAILED}
    assert causes == {"ValueError: out of memory"}
    latency = comparison["agent/latency_seconds/average"]
    assert latency.pairs == 20


def test_records_with_one_id_stay_separate_rows() -> None:
    twins = [
        {"request_id": "same", "request": "?", "expected_response": answer, "response": "a"}
        for answer in ("a", "b", "c")
    ]
    comparison = compare(evaluate(data=[twins[1], twins[0]]), evaluate(data=twins))
    assert (comparison.paired, comparison.duplicates, comparison.clusters) == (2, 2, 1)
    assert comparison[MATCH].difference == 0
    assert [row.number for row in comparison.only_baseline] == [2]
    # All rows are of one request: nothing is known about others.
    assert (comparison[F1].interval, comparison[F1].p_value) == (None, None)


def test_rows_without_a_partner_are_counted_and_not_compared() -> None:
    data = records(6)
    baseline = answered(data[:4], lambda n: n < 1)
    comparison = compare(answered(data[2:], lambda n: n < 3), baseline)
    assert comparison.paired == 2
    assert [row.request_id for row in comparison.only_baseline] == ["r0", "r1"]
    assert [row.request_id for row in comparison.only_candidate] == ["r4", "r5"]
    assert (comparison[MATCH].baseline, comparison[MATCH].candidate) == (0, 1)


def test_repetitions_are_paired_and_are_one_cluster() -> None:
    data = records(10)
    baseline = answered(data, lambda n: n < 4, repeat=3)
    comparison = compare(answered(data, lambda n: n < 9, repeat=2), baseline)
    match = comparison[MATCH]
    assert (comparison.paired, comparison.clusters) == (20, 10)
    assert len(comparison.only_baseline) == 10
    assert match.paired.test == "paired t, clustered"
    # Repeating each answer is no further evidence.
    once = compare_pairs([0.5] * 10, np.array([0.5] * 5 + [1.5] * 5), test="t")
    assert match.p_value == pytest.approx(once.p_value)


def test_a_column_or_a_function_selects_the_clusters() -> None:
    data = records(12)
    results = answered(data, lambda n: n != 1), answered(data, lambda n: n > 5)
    assert compare(*results).clusters == 12
    assert compare(*results, cluster="document").clusters == 3
    assert compare(*results, cluster=lambda record: int(record.request) % 2).clusters == 2
    with pytest.raises(errors.ConfigurationError, match=r"'no_such_column' that 'cluster'"):
        compare(*results, cluster="no_such_column")


def test_slices_have_the_same_statistics_and_one_correction() -> None:
    data = records(24)
    baseline = answered(data, lambda n: n < 2)
    candidate = answered(data, lambda n: n % 2 == 0)
    comparison = compare(candidate, baseline, by="topic", primary=MATCH)
    even, odd = comparison.slices
    assert (even.value, even.paired, odd.value, odd.paired) == ("even", 12, "odd", 12)
    match = [next(m for m in one.metrics if m.name == MATCH) for one in (even, odd)]
    assert [metric.difference for metric in match] == pytest.approx([11 / 12, -1 / 12])
    expected = holm([mcnemar(11, 0), mcnemar(0, 1)])
    assert [metric.p_adjusted for metric in match] == pytest.approx(expected)


def test_a_loss_within_the_margin_is_non_inferior() -> None:
    data = records(40)
    results = answered(data, lambda n: n != 3), answered(data, lambda n: True)
    assert compare(*results, margin=0.2)[MATCH].non_inferior is True
    assert compare(*results, margin=0.05)[MATCH].non_inferior is False
    assert compare(*results)[MATCH].non_inferior is None
    named = compare(*results, margin={FAILED: 0.2})
    assert (named[FAILED].non_inferior, named[MATCH].non_inferior) == (True, None)
    with pytest.raises(errors.ConfigurationError, match=r"'margin'.*no_such_metric"):
        compare(*results, margin={"no_such_metric": 0.1})


def test_flips_have_the_root_cause_before_and_after() -> None:
    data = [
        {"request_id": "a", "request": "1?", "expected_response": "one"},
        {"request_id": "b", "request": "2?", "expected_response": "two"},
    ]

    def judged(*bad: str) -> EvaluationResult:
        def script(messages: Any) -> str:
            is_bad = any(word in str(messages[1].content) for word in bad)
            return verdict("no" if is_bad else "yes", "contradicts" if is_bad else "fits")

        rows = [{**row, "response": answer} for row, answer in zip(data, ("x", "y"), strict=True)]
        config = {"databricks-agent": {"metrics": ["correctness"]}}
        return evaluate(data=rows, judge=ScriptedJudge(script=script), evaluator_config=config)

    flips = compare(judged("two"), judged("one")).flips
    [lost, *_] = [f for f in flips if f.metric == OVERALL and f.after == 0]
    assert lost.row_id.request_id == "b"
    assert (lost.root_cause_before, lost.root_cause_after) == (None, "correctness")
    assert lost.reason_after.startswith("Root cause: correctness. contradicts")
    rating = "response/llm_judged/correctness/rating/percentage"
    [won] = [f for f in flips if f.metric == rating and f.after == 1]
    assert (won.row_id.request_id, won.reason_before, won.reason_after) == (
        "a",
        "contradicts",
        "fits",
    )
    comparison = compare(judged("two"), judged("one"))
    assert comparison["response/llm_judged/correctness/percentage"].name == rating
    errors_of_the_judge = comparison["judge/correctness/error_count"]
    assert (errors_of_the_judge.difference, errors_of_the_judge.pairs) == (0, 0)


def test_a_metric_of_one_evaluation_has_no_difference() -> None:
    @scorer
    def words(response: str) -> int:
        return len(response.split())

    data = records(3)
    baseline = answered(data, lambda n: True)
    comparison = compare(answered(data, lambda n: True, scorers=[words]), baseline)
    [metric] = [metric for metric in comparison.metrics if "words" in metric.name]
    assert (metric.baseline, metric.candidate) == (None, 1)
    assert (metric.difference, metric.pairs, metric.only_candidate) == (None, 0, 3)
    with pytest.raises(KeyError, match="no_such_metric"):
        _ = comparison["no_such_metric"]


def test_a_boolean_is_one_test() -> None:
    @scorer
    def is_right(response: str) -> bool:
        return response == "right"

    data = records(12)
    results = (
        answered(data, lambda n, first=first: n >= first, scorers=[is_right]) for first in (0, 7)
    )
    comparison = compare(*results)
    both = [metric for metric in comparison.metrics if "is_right" in metric.name]
    assert [metric.name.rpartition("/")[2] for metric in both] == ["average", "percentage"]
    assert [metric.p_adjusted for metric in both] == [mcnemar(7, 0)] * 2


def test_further_baselines_share_the_correction() -> None:
    data = records(12)
    candidate = answered(data, lambda n: True)
    first, second = answered(data, lambda n: n > 6), answered(data, lambda n: n > 3)
    comparison = compare(candidate, first, second, primary=MATCH)
    [other] = comparison.others
    found = [comparison[MATCH].p_adjusted, other[MATCH].p_adjusted]
    assert found == pytest.approx(holm([mcnemar(7, 0), mcnemar(4, 0)]))


def test_latency_is_compared_by_quantiles() -> None:
    data = records(20)
    comparison = compare(failing(data, lambda n: False), failing(data, lambda n: False))
    quantiles = {found.quantile: found for found in comparison.latency}
    assert list(quantiles) == [0.5, 0.9, 0.95, 0.99]
    median = quantiles[0.5]
    assert median.interval.low <= median.interval.high
    assert median.difference == median.candidate - median.baseline
    assert quantiles[0.99].interval is None


def test_another_test_can_be_selected() -> None:
    data = records(12)
    results = answered(data, lambda n: n > 1), answered(data, lambda n: n > 5)
    found = compare(*results, test="wilcoxon")[F1]
    assert found.paired.test == "Wilcoxon signed-rank"
    assert compare(*results, test="bootstrap")[F1].paired.test == "bootstrap"
