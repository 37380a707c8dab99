"""`evaluate()`: as many rows out as in, whatever the model does."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Any

import pandas as pd
import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import Runnable, RunnableLambda
from typing_extensions import TypedDict

from langchain_dbx_eval import ChatDatabricks, EvalDataset, errors, evaluate
from langchain_dbx_eval.testing import LocalWorkspace
from tests.evaluation.questions import NAME, RECORDS

pytestmark = pytest.mark.usefixtures("mlflow_store")
F1 = "response/ground_truth/token_f1"


@pytest.mark.parametrize("form", ["name", "list", "frame", "dataset"])
def test_data_comes_in_each_form(chain: Runnable[str, Any], form: str) -> None:
    dataset = EvalDataset.create(NAME, RECORDS)
    data = {"name": NAME, "list": RECORDS, "frame": pd.DataFrame(RECORDS), "dataset": dataset}[form]
    result = evaluate(data, chain)
    assert len(result.tables["eval_results"]) == 6
    assert result.metrics[f"{F1}/average"] == 1.0
    assert result.metrics["retrieval/ground_truth/document_recall/average"] == 0.5
    assert result.metrics["agent/latency_seconds/average"] > 0


def test_the_dataset_is_pinned_to_the_version_that_was_evaluated(chain: Runnable) -> None:
    dataset = EvalDataset.create(NAME, RECORDS)
    result = evaluate(NAME, chain)
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
def test_a_function_gets_messages_and_returns_any_documented_answer(function: Any) -> None:
    result = evaluate(RECORDS, function)
    assert result.metrics["response/ground_truth/exact_match/average"] == 1.0


def test_a_function_of_the_keys_of_inputs_gets_them_as_arguments() -> None:
    data = [{"inputs": {"a": 1, "b": 2}, "expectations": {"expected_response": "3"}}]

    def add(a: int, b: int) -> str:
        return str(a + b)

    assert evaluate(data, add).metrics[f"{F1}/average"] == 1.0


def test_any_other_request_is_given_as_it_stands() -> None:
    given = []
    evaluate([{"request": {"x": 1}}], lambda request: given.append(request) or "ok")
    assert given == [{"x": 1}]


class State(TypedDict):
    messages: list


def test_a_runnable_that_asks_for_messages_gets_them() -> None:
    def last(state: dict) -> dict:
        return {"messages": [*state["messages"], AIMessage("answer 0")]}

    graph = RunnableLambda(last).with_types(input_type=State)
    result = evaluate(RECORDS[:1], graph)
    assert result.metrics["response/ground_truth/exact_match/average"] == 1.0
    assert isinstance(result.rows[0].run.request["messages"][0], HumanMessage)


class Silent(Runnable[str, str]):
    """Tells its callbacks nothing of itself, as `Runnable` does unless it is made to."""

    def invoke(self, input: str, config: Any = None, **kwargs: Any) -> str:
        return returns_text({"messages": [{"content": input}]})


class Wrapping(Silent):
    """Hands its callbacks on to a step that fails, and answers all the same."""

    def invoke(self, input: str, config: Any = None, **kwargs: Any) -> str:
        with contextlib.suppress(ZeroDivisionError):
            RunnableLambda(lambda _: 1 / 0).invoke(input, config)
        return super().invoke(input)


@pytest.mark.parametrize("kind", [Silent, Wrapping])
def test_a_runnable_that_tells_nothing_of_its_answer_is_believed_all_the_same(
    kind: type[Silent],
) -> None:
    result = evaluate(RECORDS, kind())
    assert [row.outcome.response for row in result.rows] == [f"answer {n}" for n in range(6)]
    assert not result.failures


def test_a_chat_model_is_a_model(workspace: LocalWorkspace) -> None:
    workspace.add_endpoint("my-chat", lambda messages: "answer 0", kind="chat")
    result = evaluate(RECORDS, ChatDatabricks(model="my-chat"))
    assert result.metrics["response/ground_truth/exact_match/average"] == pytest.approx(1 / 6)
    assert result.metrics["agent/total_token_count/average"] > 0


def test_input_fn_decides_what_the_model_is_given() -> None:
    given = []

    def model(question: str) -> str:
        given.append(question)
        return "x"

    evaluate(RECORDS[:1], model, input_fn=lambda request: request.upper())
    assert given == ["QUESTION 0"]


def test_answers_that_the_data_carries_are_scored_without_a_model() -> None:
    data = [
        {"request": "a", "response": "b", "expected_response": "b"},
        {"request": "c", "expected_response": "d"},
    ]
    result = evaluate(data)
    assert result.metrics[f"{F1}/average"] == 1.0
    assert "no response" in result.failures[0].outcome.error
    assert "agent/latency_seconds/average" not in result.metrics


def test_a_row_that_fails_is_in_the_result_with_its_reason() -> None:
    def moody(model_input: dict) -> str:
        text = returns_text(model_input)
        if text.endswith("3"):
            raise ValueError("not the third")
        return text

    result = evaluate(RECORDS, moody)
    table = result.tables["eval_results"].set_index("request_id")
    assert len(table) == 6
    assert table.loc["r3", "model_error_message"] == "ValueError: not the third"
    assert pd.isna(table.loc["r3", F1])
    assert result.metrics[f"{F1}/average"] == 1.0


def test_a_row_whose_input_cannot_be_made_is_in_the_result_too() -> None:
    def picky(request: str) -> str:
        if request.endswith("3"):
            raise KeyError("third")
        return request

    result = evaluate(RECORDS, lambda question: "x", input_fn=picky)
    assert [row.record.request_id for row in result.failures] == ["r3"]
    assert len(result.rows) == 6


def test_equal_requests_are_rows_of_their_own() -> None:
    result = evaluate([RECORDS[0]] * 3, returns_text)
    assert len(result.rows) == 3


def test_as_many_rows_are_in_flight_as_were_asked_for() -> None:
    # All of them wait for each other: with fewer in flight, the barrier breaks.
    together = threading.Barrier(6, timeout=30)

    def meet(model_input: dict) -> str:
        together.wait()
        return "met"

    assert not evaluate(RECORDS, meet, max_concurrency=6).failures


def test_it_runs_inside_a_running_event_loop() -> None:
    async def cell() -> int:
        return len(evaluate(RECORDS, returns_later).rows)

    assert asyncio.run(cell()) == 6


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"data": RECORDS, "model": 5}, "cannot be evaluated"),
        ({"data": "nowhere", "model": len}, "No dataset can be read"),
        ({"data": RECORDS, "model": len, "model_type": "text"}, "databricks-agent"),
        ({"data": RECORDS, "model": len, "max_concurrency": 0}, "max_concurrency"),
    ],
)
def test_what_cannot_be_evaluated_is_told(arguments: dict, told: str) -> None:
    with pytest.raises(errors.ConfigurationError, match=told):
        evaluate(**arguments)


def test_data_without_a_single_record_is_told() -> None:
    with pytest.raises(errors.SchemaError, match="Row 0, column 'request'"):
        evaluate([{"question": "q"}], len)


def test_a_row_that_breaks_the_schema_is_told_and_does_not_lose_the_others(
    mlflow_store: str, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [{"request": "q", "response": "a"}, {"request": "q2", "expected_facts": "f"}]
    result = evaluate(rows)
    assert [row.record.request for row in result.rows] == ["q"]
    assert "Row 1, column 'expected_facts'" in caplog.text
