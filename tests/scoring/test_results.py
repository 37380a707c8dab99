"""What scorers may return, and how it is aggregated."""

from __future__ import annotations

import math
from typing import Any

import pytest

from langchain_dbx_eval import EvalRecord, EvaluationResult, evaluate, scorer
from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.scoring import Assessment, Outcome, ScoringContext, score

np = pytest.importorskip("numpy")
entities = pytest.importorskip("mlflow.entities")

ROWS = [{"request": f"q{n}", "response": "x" * n} for n in range(1, 12)]


def results(value: Any, **options: Any) -> list[tuple[str, Any]]:
    context = ScoringContext(EvalRecord(request="q"), Outcome(response="a"))
    found = score(context, [scorer(name="f", **options)(lambda response: value)]).assessments
    assert all(a.error is None for a in found), found
    return [(a.value_column, a.value) for a in found if a.name != "overall_assessment"]


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        (True, [("metric/f", True)]),
        (np.bool_(False), [("metric/f", False)]),
        (np.float32(0.5), [("metric/f", 0.5)]),
        (np.int64(3), [("metric/f", 3)]),
        ("formal", [("metric/f", "formal")]),
        ((0.5, "why"), [("metric/f", 0.5)]),
        ((np.float32(0.5), None), [("metric/f", 0.5)]),
        ([0.5, True], [("metric/f", 0.5), ("metric/f", True)]),
        (["formal", "brief"], [("metric/f", "formal"), ("metric/f", "brief")]),
        ({"a": 1, "b": (True, "why")}, [("metric/f/a", 1), ("metric/f/b", True)]),
        (entities.Feedback(value=False), [("metric/f", False)]),
        (entities.Feedback(name="own", value="yes"), [("metric/own", "yes")]),
        ([entities.Feedback(name="a", value=1), 2], [("metric/a", 1), ("metric/f", 2)]),
        (Assessment(name="own", column="x/own", value=1), [("x/own", 1)]),
    ],
)
def test_a_scorer_may_return_each_documented_form(returned: Any, expected: Any) -> None:
    found = results(returned)
    assert found == expected
    assert [type(value) for _, value in found] == [type(value) for _, value in expected]


def test_a_boolean_of_a_judge_is_yes_or_no() -> None:
    assert results(True, affects_verdict=True) == [("response/llm_judged/f/rating", "yes")]


def test_feedback_keeps_rationale_source_metadata_and_error() -> None:
    source = entities.AssessmentSource(source_type="HUMAN", source_id="me")
    good = entities.Feedback(value=1, rationale="r", source=source, metadata={"k": "v"})
    bad = entities.Feedback(name="g", error=entities.AssessmentError("CODE", "went wrong"))
    context = ScoringContext(EvalRecord(request="q"), Outcome(response="a"))
    first, second = score(context, [scorer(lambda response: [good, bad])]).assessments
    assert (first.rationale, first.source, first.metadata) == ("r", "HUMAN", {"k": "v"})
    assert (second.name, second.value, second.error) == ("g", None, "went wrong")


@pytest.mark.parametrize("value", [object(), {"a": object()}, [object()]])
def test_any_other_result_is_an_error_that_lists_the_supported_ones(value: Any) -> None:
    context = ScoringContext(EvalRecord(request="q"), Outcome(response="a"))
    (assessment,) = score(context, [scorer(name="f")(lambda response: value)]).assessments
    assert assessment.value is None
    assert "Return True or False, a number" in str(assessment.error)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float64("nan")])
def test_a_number_that_is_not_finite_is_an_error_of_its_row(
    value: float, mlflow_store: str
) -> None:
    from mlflow.genai import scorer as mlflow_scorer

    @scorer
    def ours(response: str) -> float:
        return value if len(response) == 1 else 0.5

    @mlflow_scorer
    def theirs(outputs: str) -> float:
        return value if len(outputs) == 1 else 0.5

    result = evaluate(data=ROWS[:3], scorers=[ours, theirs])
    for name, metric in (("ours", "metric/ours"), ("theirs", "theirs/value")):
        assert result.metrics[f"{metric}/average"] == 0.5
        assert result.metrics[f"judge/{name}/error_count"] == 1
        assert f"{float(value)}" in result.tables["eval_results"][f"{name_of(metric)}"][0]


def name_of(metric: str) -> str:
    return metric.removesuffix("/value") + "/error_message"


def spread(values: list[float]) -> float:
    return max(values) - min(values)


def test_aggregations_are_metrics_also_of_a_loaded_result(mlflow_store: str) -> None:
    import mlflow
    from mlflow.genai import scorer as mlflow_scorer

    names = ["min", "max", "mean", "median", "variance", "p90"]

    @scorer(aggregations=[*names, spread])
    def ours(response: str) -> int:
        return len(response)

    @mlflow_scorer(aggregations=[*names, spread])
    def theirs(outputs: str) -> int:
        return len(outputs)

    result = evaluate(data=ROWS, scorers=[ours, theirs])
    lengths = range(1, 12)
    expected = {
        "min": 1,
        "max": 11,
        "mean": 6,
        "median": 6,
        "variance": np.var(lengths),
        "p90": np.percentile(lengths, 90),
        "spread": 10,
    }
    logged = mlflow.get_run(result.run_id).data.metrics
    for metrics in (result.metrics, EvaluationResult.load(result.run_id).metrics, logged):
        for name, value in expected.items():
            assert metrics[f"ours/{name}"] == pytest.approx(value)
            assert metrics[f"theirs/{name}"] == pytest.approx(value)


def test_one_value_has_percentiles(mlflow_store: str) -> None:
    one = scorer(name="f", aggregations=["p90"])(lambda response: 3)
    assert evaluate(data=ROWS[:1], scorers=[one]).metrics["f/p90"] == 3


@pytest.mark.parametrize(
    ("aggregation", "message"),
    [
        ("p50", r"aggregations of the scorer 'f': 'p50' is not supported: use min, max"),
        (lambda values: 1.0, "without an importable name"),
    ],
)
def test_an_aggregation_that_cannot_be_computed_is_rejected(aggregation: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        scorer(name="f", aggregations=[aggregation])(lambda response: 3)


def test_booleans_have_a_share_with_its_interval_and_the_mean_of_mlflow(mlflow_store: str) -> None:
    @scorer
    def is_long(response: str) -> bool:
        return len(response) > 5

    result = evaluate(data=ROWS, scorers=[is_long])
    assert list(result.tables["eval_results"]["metric/is_long"][4:6]) == [False, True]
    share = 6 / 11
    for name in ("metric/is_long/average", "metric/is_long/percentage", "is_long/mean"):
        assert result.metrics[name] == pytest.approx(share)
    (percentage,) = result.summary.percentages
    assert percentage.n == 11
    assert percentage.low < share < percentage.high


@pytest.mark.parametrize("invoked", [True, False])
def test_a_scorer_receives_trace_tool_calls_messages_and_tags(
    invoked: bool, mlflow_store: str
) -> None:
    agent = pytest.importorskip("tests.scoring.mlflow.agent")
    received: dict[str, Any] = {}

    @scorer
    def seen(trace: Any, tool_calls: Any, messages: Any, tags: Any, expectations: Any) -> bool:
        received.update(locals())
        return True

    call = {"name": "population", "arguments": {"city": "city-4"}}
    row = {
        "request": {"messages": [{"role": "user", "content": "How many live in city-4?"}]},
        "tags": {"team": "a"},
        "expected_tool_calls": [call],
    }
    if invoked:
        result = evaluate(agent.AGENT, [row], scorers=[seen])
    else:
        state = agent.AGENT.invoke(row["request"])
        result = evaluate(data=[{**row, "response": state}], scorers=[seen])
    assert result.metrics["metric/seen/average"] == 1
    (found,) = received["tool_calls"]
    assert {name: found[name] for name in call} == call
    assert "4000 inhabitants" in str(found["result"])
    assert [m["role"] for m in received["messages"]] == ["user", "assistant", "tool", "assistant"]
    assert received["tags"] == {"team": "a"}
    assert received["expectations"]["expected_tool_calls"] == [call]
    assert received["trace"].search_spans(span_type="TOOL")[0].name == "population"
    assert bool(received["trace"].search_spans(span_type="RETRIEVER")) is invoked
