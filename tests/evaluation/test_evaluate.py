"""`evaluate()`: one row per record, also if the model fails."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from typing import Any

import mlflow
import pandas as pd
import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import Runnable, RunnableLambda
from typing_extensions import TypedDict

from langchain_dbx_eval import ChatDatabricks, EvalDataset, errors, evaluate
from langchain_dbx_eval.evaluation import EvaluationOptions
from langchain_dbx_eval.testing import LocalWorkspace
from tests.evaluation.questions import NAME, RECORDS

pytestmark = pytest.mark.usefixtures("mlflow_store")
F1 = "response/ground_truth/token_f1"


@pytest.mark.parametrize("form", ["name", "list", "frame", "dataset"])
def test_data_is_accepted_in_each_form(chain: Runnable[str, Any], form: str) -> None:
    dataset = EvalDataset.create(NAME, RECORDS)
    data = {"name": NAME, "list": RECORDS, "frame": pd.DataFrame(RECORDS), "dataset": dataset}[form]
    result = evaluate(chain, data)
    assert len(result.tables["eval_results"]) == 6
    assert result.metrics[f"{F1}/average"] == 1.0
    assert result.metrics["retrieval/ground_truth/document_recall/average"] == 0.5
    assert result.metrics["agent/latency_seconds/average"] > 0


def test_the_dataset_is_pinned_to_the_version_that_was_evaluated(chain: Runnable) -> None:
    dataset = EvalDataset.create(NAME, RECORDS)
    result = evaluate(chain, NAME)
    dataset.merge_records([{"request": "later"}])
    assert result.dataset.version == dataset.version - 1
    assert len(result.dataset) == 6


def returns_text(model_input: dict) -> str:
    return model_input["messages"][-1]["content"].replace("question", "answer")


def returns_content(model_input: dict) -> dict:
    return {"content": returns_text(model_input)}


def returns_completion(model_input: dict) -> dict:
    return {"choices": [{"message": {"role": "assistant", "content": returns_text(model_input)}}]}


async def returns_later(model_input: dict) -> str:
    await asyncio.sleep(0)
    return returns_text(model_input)


@pytest.mark.parametrize(
    "function", [returns_text, returns_content, returns_completion, returns_later]
)
def test_a_function_receives_messages_and_returns_any_documented_response(function: Any) -> None:
    result = evaluate(function, RECORDS)
    assert result.metrics["response/ground_truth/exact_match/average"] == 1.0


def test_a_function_of_the_keys_of_inputs_receives_them_as_arguments() -> None:
    data = [{"inputs": {"a": 1, "b": 2}, "expectations": {"expected_response": "3"}}]

    def add(a: int, b: int) -> str:
        return str(a + b)

    assert evaluate(add, data).metrics[f"{F1}/average"] == 1.0


def test_any_other_request_is_passed_unchanged() -> None:
    inputs = []
    evaluate(lambda request: inputs.append(request) or "ok", [{"request": {"x": 1}}])
    assert inputs == [{"x": 1}]


class State(TypedDict):
    messages: list


def test_a_runnable_with_messages_in_its_schema_receives_messages() -> None:
    def last(state: dict) -> dict:
        return {"messages": [*state["messages"], AIMessage("answer 0")]}

    graph = RunnableLambda(last).with_types(input_type=State)
    result = evaluate(graph, RECORDS[:1])
    assert result.metrics["response/ground_truth/exact_match/average"] == 1.0
    assert isinstance(result.rows[0].run.request["messages"][0], HumanMessage)


class Silent(Runnable[str, str]):
    """Does not report to its callbacks, like any `Runnable` without extra code."""

    def invoke(self, input: str, config: Any = None, **kwargs: Any) -> str:
        return returns_text({"messages": [{"content": input}]})


class Wrapping(Silent):
    """Passes its callbacks to a step that fails, and answers all the same."""

    def invoke(self, input: str, config: Any = None, **kwargs: Any) -> str:
        with contextlib.suppress(ZeroDivisionError):
            RunnableLambda(lambda _: 1 / 0).invoke(input, config)
        return super().invoke(input)


@pytest.mark.parametrize("kind", [Silent, Wrapping])
def test_the_return_value_counts_if_a_runnable_reports_nothing_to_its_callbacks(
    kind: type[Silent],
) -> None:
    result = evaluate(kind(), RECORDS)
    assert [row.outcome.response for row in result.rows] == [f"answer {n}" for n in range(6)]
    assert not result.failures


def test_a_chat_model_is_evaluated(workspace: LocalWorkspace) -> None:
    workspace.add_endpoint("my-chat", lambda messages: "answer 0", kind="chat")
    result = evaluate(ChatDatabricks(model="my-chat"), RECORDS)
    assert result.metrics["response/ground_truth/exact_match/average"] == pytest.approx(1 / 6)
    assert result.metrics["agent/total_token_count/average"] > 0


def test_input_fn_returns_the_input_of_the_model() -> None:
    inputs = []

    def model(question: str) -> str:
        inputs.append(question)
        return "x"

    evaluate(model, RECORDS[:1], input_fn=str.upper)
    assert inputs == ["QUESTION 0"]


def test_without_a_model_the_responses_of_the_data_are_scored() -> None:
    data = [
        {"request": "a", "response": "b", "expected_response": "b"},
        {"request": "c", "expected_response": "d"},
    ]
    result = evaluate(data=data)
    assert result.metrics[f"{F1}/average"] == 1.0
    assert "no response" in result.failures[0].outcome.error
    assert "agent/latency_seconds/average" not in result.metrics


def test_a_failed_row_is_in_the_result_with_its_error() -> None:
    def fails_once(model_input: dict) -> str:
        text = returns_text(model_input)
        if text.endswith("3"):
            raise ValueError("not the third")
        return text

    result = evaluate(fails_once, RECORDS)
    table = result.tables["eval_results"].set_index("request_id")
    assert len(table) == 6
    assert table.loc["r3", "model_error_message"] == "ValueError: not the third"
    assert pd.isna(table.loc["r3", F1])
    assert result.metrics[f"{F1}/average"] == 1.0


def test_a_row_whose_input_fn_fails_is_in_the_result() -> None:
    def fails_once(request: str) -> str:
        if request.endswith("3"):
            raise KeyError("third")
        return request

    result = evaluate(lambda question: "x", RECORDS, input_fn=fails_once)
    assert [row.record.request_id for row in result.failures] == ["r3"]
    assert len(result.rows) == 6


def test_equal_requests_are_separate_rows() -> None:
    result = evaluate(returns_text, [RECORDS[0]] * 3)
    assert len(result.rows) == 3


def test_max_concurrency_rows_are_in_flight() -> None:
    # All of them wait for each other: with fewer in flight, the barrier breaks.
    together = threading.Barrier(6, timeout=100)

    def meet(model_input: dict) -> str:
        together.wait()
        return "met"

    assert not evaluate(meet, RECORDS, max_concurrency=6).failures


def test_it_runs_inside_a_running_event_loop() -> None:
    async def cell() -> int:
        return len(evaluate(returns_later, RECORDS).rows)

    assert asyncio.run(cell()) == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data": RECORDS, "model": 5}, "cannot be evaluated"),
        ({"data": "nowhere", "model": len}, "No dataset can be read"),
        ({"data": RECORDS, "model": len, "model_type": "text"}, "databricks-agent"),
        ({"data": RECORDS, "model": len, "max_concurrency": 0}, "max_concurrency"),
        ({"data": RECORDS, "model": len, "timeout": 0}, "timeout"),
        ({"data": RECORDS, "model": len, "scorers": None}, r"scorers=None is not a list"),
    ],
)
def test_an_invalid_argument_is_an_error(arguments: dict, message: str) -> None:
    with pytest.raises(errors.ConfigurationError, match=message):
        evaluate(**arguments)


def test_data_without_a_valid_record_is_an_error() -> None:
    with pytest.raises(errors.SchemaError, match="Row 0, column 'request'"):
        evaluate(len, [{"question": "q"}])


INVALID = [
    {"request": "q", "response": "a", "expected_response": "a"},
    {"request": "q2", "request_id": "two", "expected_facts": "f"},
    {"expected_response": "no request"},
    {"request": "q4", "response": "a", "expected_response": "a"},
]


@pytest.mark.parametrize("repeat", [1, 2])
@pytest.mark.parametrize("model", [None, lambda request: "a"])
def test_an_invalid_row_is_a_failed_row_with_the_reason(model: Any, repeat: int) -> None:
    result = evaluate(model, INVALID, repeat=repeat)
    assert len(result.rows) == 4 * repeat
    assert [row.number for row in result.failures] == [
        number for number in (1, 2) for _ in range(repeat)
    ]
    table = result.tables["eval_results"]
    errors_ = table["model_error_message"].dropna().unique()
    assert list(table["request_id"][repeat : 2 * repeat]) == ["two"] * repeat
    assert "Row 1, column 'expected_facts'" in errors_[0]
    assert "Row 2, column 'request'" in errors_[1]
    assert result.metrics["response/ground_truth/exact_match/average"] == 1.0
    trace = mlflow.get_trace(result.failures[0].trace_id)
    assert trace.info.state.value == "ERROR"


def test_an_evaluation_with_invalid_rows_is_resumed() -> None:
    result = evaluate(returns_a, INVALID)
    again = evaluate(returns_a, INVALID, resume=result.journal)
    assert [row.key for row in again.rows] == [row.key for row in result.rows]
    assert len(again.failures) == 2


def returns_a(model_input: dict) -> str:
    return "a"


@pytest.mark.parametrize("data", [RECORDS, pd.DataFrame(RECORDS), EvalDataset.load(RECORDS)])
def test_the_error_for_a_dataset_as_the_model_shows_the_right_call(data: Any) -> None:
    with pytest.raises(errors.ConfigurationError, match=r"Call evaluate\(model, data\)"):
        evaluate(data)
    with pytest.raises(errors.ConfigurationError, match=r"Call evaluate\(model, data\)"):
        evaluate(data, lambda request: "answer")


def test_the_error_for_missing_data_shows_the_right_call() -> None:
    with pytest.raises(errors.ConfigurationError, match=r"evaluate\(data=…\).* pass it as data="):
        evaluate("main.default.questions")


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("timeout", "5", "timeout must be a positive number of seconds, or None, got '5'"),
        ("timeout", True, "timeout must be a positive number of seconds, or None, got True"),
        ("timeout", float("nan"), "timeout must be a positive number of seconds, or None, got nan"),
        ("timeout", float("inf"), "timeout must be a positive number of seconds, or None, got inf"),
        ("repeat", 1.5, "repeat must be an integer, got 1.5"),
        ("repeat", "2", "repeat must be an integer, got '2'"),
        ("repeat", True, "repeat must be an integer, got True"),
        ("max_concurrency", "8", "max_concurrency must be an integer, got '8'"),
        ("max_concurrency", None, "max_concurrency must be an integer, got None"),
        ("max_tokens", "9", "max_tokens must be a number above 0, got '9'"),
        ("run_name", 3, "run_name must be a string, got 3"),
        ("experiment_name", ["a"], "experiment_name must be a string"),
        ("resume", 7, "resume must be a string or a path, got 7"),
        ("input_fn", "f", "input_fn must be a function, got 'f'"),
        ("options", {"judge_repeats": 2}, "options must be EvaluationOptions"),
        ("options", EvaluationOptions(judge_repeats=2.5), "judge_repeats must be an integer"),
        ("options", EvaluationOptions(judge_cache=3), "judge_cache must be a string or a path"),
    ],
)
def test_an_argument_of_a_wrong_type_is_named(argument: str, value: Any, message: str) -> None:
    with pytest.raises(errors.ConfigurationError, match=re.escape(message)):
        evaluate(returns_text, RECORDS, **{argument: value})
