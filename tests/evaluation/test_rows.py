"""As many rows come out as go in, and each is found in MLflow."""

from __future__ import annotations

import json
from typing import Any

import mlflow
import pandas as pd
import pytest
from langchain_core.runnables import RunnableLambda

from langchain_dbx_eval import EvaluationCallbackHandler, EvaluationResult, evaluate
from tests.evaluation.questions import RECORDS

pytestmark = pytest.mark.usefixtures("mlflow_store")
MATCH = "response/ground_truth/exact_match/average"


def echo(model_input: dict[str, Any]) -> str:
    return model_input["messages"][-1]["content"].replace("question", "answer")


def test_two_records_with_the_same_request_are_both_matched() -> None:
    data = [{"request": "q", "expected_response": text} for text in ("first", "second")]
    handler = EvaluationCallbackHandler(data)
    answers = iter(["first", "second", "third"])
    chain = RunnableLambda(lambda _: next(answers))
    for _ in range(3):
        chain.invoke("q", {"callbacks": [handler]})
    result = handler.result()
    assert [(row.key.number, row.key.repetition) for row in result.rows] == [(0, 1), (0, 2), (1, 1)]
    assert [row.outcome.response for row in result.rows] == ["first", "third", "second"]


def test_two_evaluations_in_one_run_both_keep_their_table() -> None:
    with mlflow.start_run() as run:
        first = evaluate(echo, RECORDS[:2])
        second = evaluate(echo, RECORDS[:3])
        handler = EvaluationCallbackHandler(RECORDS)
        RunnableLambda(lambda text: text).batch(["question 0"], {"callbacks": [handler]})
        third = handler.result()
    assert {result.run_id for result in (first, second, third)} == {run.info.run_id}
    names = ["eval_results.json", "eval_results_2.json", "eval_results_3.json"]
    tables = [mlflow.load_table(name, run_ids=[run.info.run_id]) for name in names]
    assert list(map(len, tables)) == [2, 3, 1]
    # A repetition writes the same file again.
    evaluate(echo, RECORDS[:2], resume=first.journal)
    files = {file.path for file in mlflow.MlflowClient().list_artifacts(run.info.run_id)}
    assert files == {*names, *(name.replace("results", "summary") for name in names)}


def test_the_mlflow_evaluator_returns_its_own_table() -> None:
    data = mlflow.data.from_pandas(pd.DataFrame(RECORDS[:2]))
    with mlflow.start_run():
        evaluate(echo, RECORDS)
        result = mlflow.models.evaluate(echo, data, model_type="dbx-agent", evaluators="dbx-eval")
    assert len(result.artifacts["eval_results"].content["data"]) == 2


def tags_of(result: EvaluationResult) -> dict[str, str]:
    mlflow.flush_trace_async_logging()
    return mlflow.get_trace(result.rows[0].trace_id).info.tags


CONFIG: dict[str, Any] = {
    "tags": ["live", "beta"],
    "metadata": {"user": "ana", "retries": 2, "bad=name": "x", "request_id": "r0"},
}


def check_tags(tags: dict[str, str]) -> None:
    assert set(json.loads(tags["langchain.tags"])) == {"live", "beta"}
    assert (tags["user"], tags["retries"]) == ("ana", "2")
    assert tags["mlflow.eval.requestId"] == "r0"
    assert "bad=name" not in tags


@pytest.mark.parametrize("autolog", [True, False])
def test_the_config_of_a_call_is_on_its_trace(autolog: bool) -> None:
    mlflow.langchain.autolog(disable=not autolog, silent=True)
    try:
        handler = EvaluationCallbackHandler(RECORDS)
        chain = RunnableLambda(lambda text: text)
        chain.invoke("question 0", {**CONFIG, "callbacks": [handler]})
        check_tags(tags_of(handler.result()))
    finally:
        mlflow.langchain.autolog(disable=True, silent=True)


def test_the_config_of_an_evaluated_chain_is_on_its_traces() -> None:
    chain = RunnableLambda(lambda text: text).with_config(**CONFIG)
    check_tags(tags_of(evaluate(chain, RECORDS[:1])))


def test_the_session_of_a_record_is_on_the_trace_of_a_traced_function() -> None:
    data = [{**RECORDS[0], "session_id": "s1"}]
    result = evaluate(mlflow.trace(echo), data)
    tags_of(result)
    trace = mlflow.get_trace(result.rows[0].trace_id)
    assert trace.info.trace_metadata["mlflow.trace.session"] == "s1"
    assert [span.name for span in trace.data.spans].count("echo") == 2


@pytest.mark.parametrize("form", ["frame", "list"])
def test_traces_are_evaluated_in_place(form: str) -> None:
    for number in range(2):
        with mlflow.start_span("agent") as span:
            span.set_inputs({"question": f"question {number}"})
            span.set_outputs(f"answer {number}")
        trace_id = mlflow.get_last_active_trace_id()
        mlflow.flush_trace_async_logging()
        mlflow.log_expectation(
            trace_id=trace_id, name="expected_response", value=f"answer {number}"
        )
    experiment = mlflow.get_experiment_by_name("tests").experiment_id
    return_type: Any = "pandas" if form == "frame" else "list"
    data = mlflow.search_traces(locations=[experiment], return_type=return_type)
    result = evaluate(data=data)
    assert result.metrics[MATCH] == 1.0
    traces = mlflow.search_traces(locations=[experiment], return_type="list")
    assert {trace.info.trace_id for trace in traces} == set(result.trace_ids)
    for trace in traces:
        names = [assessment.name for assessment in trace.info.assessments]
        assert names.count("exact_match") == 1
        assert names.count("expected_response") == 1


def test_a_trace_of_another_store_gets_a_trace_of_its_row() -> None:
    with mlflow.start_span("agent") as span:
        span.set_inputs({"question": "question 0"})
        span.set_outputs("answer 0")
    trace_id = mlflow.get_last_active_trace_id()
    mlflow.flush_trace_async_logging()
    trace = mlflow.get_trace(trace_id)
    experiment = mlflow.get_experiment_by_name("tests").experiment_id
    mlflow.MlflowClient().delete_traces(experiment, trace_ids=[trace_id])
    [row] = evaluate(data=[trace]).rows
    assert row.trace_id != trace_id
    assert mlflow.get_trace(row.trace_id).data.spans
