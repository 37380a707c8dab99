"""The callback evaluates each call of a chain as one row, with every method of calling it."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.runnables import Runnable, RunnableLambda

from langchain_dbx_eval import ChatDatabricks, EvalDataset, EvaluationCallbackHandler
from langchain_dbx_eval.evaluation import EvaluationResult
from langchain_dbx_eval.testing import LocalWorkspace
from tests.evaluation.calling import METHODS
from tests.evaluation.questions import NAME, RECORDS

pytestmark = pytest.mark.usefixtures("mlflow_store")


@pytest.mark.parametrize("call", METHODS, ids=lambda call: call.__name__)
def test_each_call_is_a_row_with_its_own_answer_and_documents(
    chain: Runnable[str, Any], call: Any
) -> None:
    EvalDataset.create(NAME, RECORDS)
    handler = EvaluationCallbackHandler(NAME)
    call(chain, [record["request"] for record in RECORDS], {"callbacks": [handler]})
    table = handler.result().tables["eval_results"]
    assert list(table["request_id"]) == [f"r{n}" for n in range(6)]
    assert list(table["response"]) == [f"answer {n}" for n in range(6)]
    found = [row[0]["doc_uri"] for row in table["retrieved_context"]]
    assert found == [f"{n}.md" for n in range(6)]
    assert set(table["retrieval/ground_truth/document_recall"]) == {0.5}


def test_a_request_id_takes_precedence_over_the_input(chain: Runnable[str, Any]) -> None:
    handler = EvaluationCallbackHandler(RECORDS)
    config = {"callbacks": [handler], "metadata": {"request_id": "r3"}}
    chain.invoke("question 0", config)
    [row] = handler.result().rows
    assert row.record.request_id == "r3"


def test_a_call_without_a_record_is_a_row_without_ground_truth(chain: Runnable[str, Any]) -> None:
    handler = EvaluationCallbackHandler(RECORDS)
    chain.invoke("question 99", {"callbacks": [handler]})
    result = handler.result()
    assert [row.record.request for row in result.unmatched] == ["question 99"]
    assert "response/ground_truth/token_f1/average" not in result.metrics


def test_without_a_dataset_only_latency_is_measured(chain: Runnable[str, Any]) -> None:
    handler = EvaluationCallbackHandler()
    chain.invoke("question 1", {"callbacks": [handler]})
    names = [name for name in handler.result().metrics if not name.startswith("rows/")]
    assert names == ["agent/latency_seconds/average"]


def test_two_chains_share_a_handler(chain: Runnable[str, Any]) -> None:
    handler = EvaluationCallbackHandler(RECORDS)
    other = RunnableLambda(lambda question: "something else")
    chain.invoke("question 1", {"callbacks": [handler]})
    other.invoke("question 2", {"callbacks": [handler]})
    assert list(handler.result().tables["eval_results"]["response"]) == [
        "answer 1",
        "something else",
    ]


def test_a_nested_chain_is_part_of_the_outer_call(chain: Runnable[str, Any]) -> None:
    handler = EvaluationCallbackHandler(RECORDS)
    outer = RunnableLambda(lambda question: chain.invoke(question) + "!")
    outer.invoke("question 1", {"callbacks": [handler]})
    [row] = handler.result().rows
    assert row.outcome.response == "answer 1!"
    assert len(row.run.spans) > 3


def test_a_failed_call_is_a_row_with_its_error() -> None:
    def fail(question: str) -> str:
        raise ValueError("no idea")

    handler = EvaluationCallbackHandler(RECORDS)
    with pytest.raises(ValueError, match="no idea"):
        RunnableLambda(fail).invoke("question 1", {"callbacks": [handler]})
    [row] = handler.result().failures
    assert (row.record.request_id, row.outcome.error) == ("r1", "ValueError: no idea")


@pytest.mark.parametrize("streaming", [False, True])
def test_tokens_of_a_model_are_counted_once(workspace: LocalWorkspace, streaming: bool) -> None:
    workspace.add_endpoint("my-chat", lambda messages: "one two three", kind="chat")
    handler = EvaluationCallbackHandler([{"request": "how many words", "expected_response": "x"}])
    chat = ChatDatabricks(model="my-chat") | RunnableLambda(lambda message: message.text)
    config = {"callbacks": [handler]}
    if streaming:
        list(chat.stream("how many words", config))
    else:
        chat.invoke("how many words", config)
    metrics = handler.result().metrics
    assert metrics["agent/total_input_token_count/average"] == 3
    assert metrics["agent/total_output_token_count/average"] == 3
    assert metrics["agent/total_token_count/average"] == 6


class BrokenScorer:
    name = "broken"
    column = "response/broken"

    def score(self, context: object) -> list:
        raise RuntimeError("a scorer's own bug")


def test_an_error_of_a_scorer_neither_reaches_the_chain_nor_loses_the_row(
    chain: Runnable[str, Any],
) -> None:
    handler = EvaluationCallbackHandler(RECORDS, scorers=[BrokenScorer()])
    assert chain.invoke("question 1", {"callbacks": [handler]}) == "answer 1"
    result = handler.result()
    assert result.metrics["judge/broken/error_count"] == 1
    [message] = result.tables["eval_results"]["response/broken/error_message"]
    assert "a scorer's own bug" in message


def test_an_internal_error_is_logged_and_counted(
    chain: Runnable[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    class Unprintable:
        def __str__(self) -> str:
            raise RuntimeError("cannot be a key")

    handler = EvaluationCallbackHandler(RECORDS)
    with caplog.at_level(logging.ERROR):
        answer = RunnableLambda(lambda x: "ok").invoke(Unprintable(), {"callbacks": [handler]})
        assert len(handler.result().rows) == 0
    assert answer == "ok"
    assert handler.internal_errors == 1
    assert "could not be evaluated" in caplog.text


def test_without_new_calls_the_same_result_is_returned(chain: Runnable[str, Any]) -> None:
    handler = EvaluationCallbackHandler(RECORDS)
    chain.invoke("question 1", {"callbacks": [handler]})
    first = handler.result()
    assert handler.result() is first
    chain.invoke("question 2", {"callbacks": [handler]})
    second: EvaluationResult = handler.result()
    assert [row.record.request_id for row in second.rows] == ["r2"]
    assert second.run_id != first.run_id


def test_other_handlers_receive_their_events(chain: Runnable[str, Any]) -> None:
    class Counter(BaseCallbackHandler):
        count = 0

        def on_chain_end(self, *args: object, **kwargs: object) -> None:
            self.count += 1

    counter = Counter()
    handler = EvaluationCallbackHandler(RECORDS)
    chain.invoke("question 1", {"callbacks": [counter, handler]})
    assert counter.count > 1
    assert len(handler.result().rows) == 1


class ModelCalls(BaseCallbackHandler):
    def __init__(self) -> None:
        self.models: list[Any] = []

    def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
        self.models.append(messages)


def test_a_judge_in_the_background_is_not_a_step_of_the_enclosing_chain(mlflow_store: str) -> None:
    judge = FakeListChatModel(responses=['{"rationale": "r", "rating": "yes"}'])
    config = {"databricks-agent": {"metrics": ["relevance_to_query"]}}
    handler = EvaluationCallbackHandler(judge=judge, evaluator_config=config)
    inner, model_calls = RunnableLambda(str.upper), ModelCalls()
    # When the inner call ends, LangChain's context variable contains the callbacks of the outer.
    outer = RunnableLambda(lambda q: inner.invoke(q, {"callbacks": [handler]}))
    assert outer.invoke("a", {"callbacks": [model_calls]}) == "A"
    result = handler.result()
    assert result.metrics["response/llm_judged/relevance_to_query/percentage"] == 1.0
    assert model_calls.models == []
    assert handler.internal_errors == 0
