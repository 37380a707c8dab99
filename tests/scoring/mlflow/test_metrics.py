"""The `extra_metrics` of Agent Evaluation, in `evaluate` and in `mlflow.models.evaluate`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from langchain_dbx_eval import EvaluationCallbackHandler, evaluate
from langchain_dbx_eval.errors import ConfigurationError

mlflow = pytest.importorskip("mlflow")

URI = "openai:/local"
ROWS = [
    {"request": "q0", "response": "good", "expected_response": "good"},
    {"request": "q1", "response": "bad", "expected_response": "good"},
]
CHUNKS = [{"doc_uri": "1", "content": "good"}, {"doc_uri": "2", "content": "bad"}]

Evaluate = Callable[[list[dict[str, Any]], list[Any]], Any]


def by_evaluate(rows: list[dict[str, Any]], metrics: list[Any]) -> Any:
    return evaluate(data=rows, scorers=[], extra_metrics=metrics).metrics


def by_mlflow(rows: list[dict[str, Any]], metrics: list[Any]) -> Any:
    return mlflow.models.evaluate(
        data=pd.DataFrame(rows),
        model_type="dbx-agent",
        evaluators="dbx-eval",
        extra_metrics=metrics,
    ).metrics


@pytest.fixture(params=[by_evaluate, by_mlflow])
def run(request: pytest.FixtureRequest, mlflow_store: str) -> Evaluate:
    return request.param


@pytest.fixture
def scores(openai_server: Any) -> Any:
    """A judge model that scores good texts with 5 and bad ones with 2."""

    def answer(body: dict[str, Any]) -> str:
        score = 2 if "Text: bad" in str(body["messages"]) else 5
        return f"score: {score}\njustification: because"

    openai_server.answer = answer
    return openai_server


def quality(variable: str = "response", **options: Any) -> Any:
    from mlflow.metrics.genai import make_genai_metric_from_prompt

    prompt = f"Text: {{{variable}}}"
    return make_genai_metric_from_prompt(
        name="quality", judge_prompt=prompt, model=URI, parameters={"temperature": 0.0}, **options
    )


def test_a_metric_from_a_prompt_is_a_custom_judge(run: Evaluate, scores: Any) -> None:
    metrics = run(ROWS, [quality(metric_metadata={"assessment_type": "ANSWER"})])
    assert metrics["response/llm_judged/quality/rating/percentage"] == 0.5


def test_the_score_threshold_and_the_direction_of_a_metric_count(
    scores: Any, mlflow_store: str
) -> None:
    metadata = {"assessment_type": "ANSWER", "score_threshold": 2}
    strict = quality(metric_metadata={**metadata, "score_threshold": 6})
    lower_is_better = quality(metric_metadata=metadata, greater_is_better=False)
    ratings = [
        list(
            evaluate(data=ROWS, extra_metrics=[metric]).tables["eval_results"][
                "response/llm_judged/quality/rating"
            ]
        )
        for metric in (quality(metric_metadata=metadata), strict, lower_is_better)
    ]
    assert ratings == [["yes", "yes"], ["no", "no"], ["no", "yes"]]


def test_a_metric_of_retrieval_rates_each_chunk(run: Evaluate, scores: Any) -> None:
    rows = [{**row, "retrieved_context": CHUNKS} for row in ROWS]
    metadata = {"assessment_type": "RETRIEVAL"}
    metrics = run(rows, [quality("retrieved_context", metric_metadata=metadata)])
    assert metrics["retrieval/llm_judged/quality/precision/average"] == 0.5


def test_a_metric_without_an_assessment_type_is_a_number_with_its_aggregations(
    run: Evaluate, scores: Any
) -> None:
    metrics = run(ROWS, [quality(aggregations=["min", "max", "p90"])])
    assert metrics["metric/quality/score/average"] == 3.5
    assert (metrics["quality/min"], metrics["quality/max"]) == (2, 5)
    assert metrics["quality/p90"] == pytest.approx(4.7)


def test_a_metric_of_make_genai_metric_is_judged(run: Evaluate, scores: Any) -> None:
    from mlflow.metrics.genai import make_genai_metric

    metric = make_genai_metric(
        name="tone",
        definition="d",
        grading_prompt="g",
        grading_context_columns=["targets"],
        model=URI,
        metric_metadata={"assessment_type": "ANSWER"},
    )
    assert run(ROWS, [metric])["response/llm_judged/tone/rating/percentage"] == 1.0
    assert "key: targets" in scores.requests[0]


def test_an_answer_without_a_score_is_an_error_of_its_row(
    openai_server: Any, mlflow_store: str
) -> None:
    openai_server.answer = "no idea"
    result = evaluate(data=ROWS, extra_metrics=[quality()])
    assert result.metrics["judge/quality/error_count"] == 2
    assert "Failed to extract score" in result.rows[0].assessments[-1].error


def test_a_metric_without_scores_of_rows_is_an_error_with_the_reason(mlflow_store: str) -> None:
    data = [{"request": "q", "response": "a", "expected_response": "a"}]
    result = evaluate(data=data, scorers=[], extra_metrics=[mlflow.metrics.exact_match()])
    assert "only aggregates" in result.rows[0].assessments[-1].error


def test_an_unknown_assessment_type_is_rejected_before_the_run() -> None:
    with pytest.raises(ConfigurationError, match=r"'quality'.*'REPLY'.*ANSWER"):
        evaluate(data=ROWS, extra_metrics=[quality(metric_metadata={"assessment_type": "reply"})])


def test_a_metric_of_databricks_agents_receives_what_it_declares(run: Evaluate) -> None:
    evals = pytest.importorskip("databricks.agents.evals")
    from mlflow.entities import Feedback

    received = []

    @evals.metric(aggregations=["min", "max"])
    def length(response: str, tool_calls: list[Any], trace: Any) -> int:
        received.append((tool_calls[0].tool_name, tool_calls[0].tool_call_args, trace.info.state))
        return len(response)

    @evals.metric
    def same(*, request: Any, response: str, expected_response: str) -> bool:
        assert request["messages"][0]["role"] == "user"
        return response == expected_response

    @evals.metric
    def checks(**kwargs: Any) -> list[Feedback]:
        assert kwargs["custom_expected"] == {"tone": "polite"}
        return [Feedback(name="first", value=True), Feedback(name="second", value=0.5)]

    calls = [{"tool_name": "search", "tool_call_args": {"q": "x"}}]
    further = {"tool_calls": calls, "custom_expected": {"tone": "polite"}}
    metrics = run([{**row, **further} for row in ROWS], [length, same, checks])
    assert metrics["metric/length/average"] == 3.5
    assert (metrics["length/min"], metrics["length/max"]) == (3, 4)
    assert metrics["metric/same/average"] == 0.5
    assert metrics["metric/first/average"] == 1.0
    assert metrics["metric/second/average"] == 0.5
    assert received[0] == ("search", {"q": "x"}, "OK")


def test_a_metric_that_raises_stop_iteration_is_an_error_of_its_row(mlflow_store: str) -> None:
    evals = pytest.importorskip("databricks.agents.evals")

    @evals.metric
    def first(response: str) -> str:
        return next(iter(()))

    result = evaluate(data=ROWS, scorers=[], extra_metrics=[first])
    assert result.metrics["judge/first/error_count"] == 2


def test_a_judge_of_databricks_agents_that_cannot_be_reached_is_an_error_of_its_row(
    mlflow_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # databricks-agents sets it to Databricks' registry, for the whole process.
    monkeypatch.setattr("mlflow.tracking._model_registry.utils._registry_uri", None)
    judges = pytest.importorskip("databricks.agents.evals.judges")
    result = evaluate(data=ROWS, extra_metrics=[judges.safety])
    assert result.metrics["judge/safety/error_count"] == 2


def test_the_callback_takes_extra_metrics(mlflow_store: str, scores: Any) -> None:
    from langchain_core.runnables import RunnableLambda

    handler = EvaluationCallbackHandler(extra_metrics=[quality()])
    RunnableLambda(lambda text: text).invoke("good", {"callbacks": [handler]})
    assert handler.result().metrics["metric/quality/score/average"] == 5


def test_the_plugin_uses_the_columns_of_predictions_and_targets(mlflow_store: str) -> None:
    data = pd.DataFrame([{"request": "q", "answer": "a", "truth": "a"}])
    result = mlflow.models.evaluate(
        data=data,
        predictions="answer",
        targets="truth",
        model_type="dbx-agent",
        evaluators="dbx-eval",
    )
    assert result.metrics["response/ground_truth/exact_match/average"] == 1.0


def test_the_plugin_rejects_custom_artifacts(mlflow_store: str) -> None:
    with pytest.raises(ConfigurationError, match="custom_artifacts is not supported"):
        mlflow.models.evaluate(
            data=pd.DataFrame(ROWS),
            model_type="dbx-agent",
            evaluators="dbx-eval",
            custom_artifacts=[lambda *_: {}],
        )
