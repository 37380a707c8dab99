"""Models that record spans in MLflow: one trace per row, and their documents and tokens count."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import mlflow
import pytest
from langchain_core.documents import Document
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableLambda

from langchain_dbx_eval import evaluate
from langchain_dbx_eval.errors import RateLimitError
from langchain_dbx_eval.evaluation import EvaluationResult
from langchain_dbx_eval.testing import LocalWorkspace
from tests.evaluation.conftest import Finder
from tests.evaluation.questions import RECORDS

pytestmark = pytest.mark.usefixtures("mlflow_store")

RECALL = "retrieval/ground_truth/document_recall/average"


@pytest.fixture
def autolog() -> Iterator[None]:
    mlflow.langchain.autolog(silent=True)
    yield
    mlflow.langchain.autolog(disable=True, silent=True)


def number_of(model_input: dict[str, Any]) -> str:
    return model_input["messages"][-1]["content"].split()[-1]


@mlflow.trace(span_type="RETRIEVER")
def retrieve(number: str) -> list[dict[str, Any]]:
    return [{"page_content": f"answer {number}", "metadata": {"doc_uri": f"{number}.md"}}]


@mlflow.trace(span_type="CHAT_MODEL")
def generate(text: str) -> str:
    usage = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
    mlflow.get_current_active_span().set_attribute("mlflow.chat.tokenUsage", usage)
    return text


@mlflow.trace
def traced(model_input: dict[str, Any]) -> str:
    return generate(retrieve(number_of(model_input))[0]["page_content"])


async def traced_async(model_input: dict[str, Any]) -> str:
    return traced(model_input)


def with_spans(model_input: dict[str, Any]) -> str:
    """Opens spans without a decorator; each would be a trace of its own."""
    with mlflow.start_span("find", span_type="RETRIEVER") as span:
        number = number_of(model_input)
        span.set_outputs([Document(f"answer {number}", metadata={"source": f"{number}.md"})])
    return generate(f"answer {number}")


def check(result: EvaluationResult, *, tokens: float | None = 5) -> list[Any]:
    """Check the scores of all rows and that each has one trace; return the traces by row."""
    assert not result.failures
    assert result.metrics["response/ground_truth/exact_match/average"] == 1.0
    assert result.metrics[RECALL] == 0.5
    assert result.metrics.get("agent/total_token_count/average") == tokens
    mlflow.flush_trace_async_logging()
    experiment = mlflow.get_experiment_by_name("tests").experiment_id
    traces = mlflow.search_traces(locations=[experiment], return_type="list")
    assert len(traces) == len(result.rows)
    by_id = {trace.info.trace_id: trace for trace in traces}
    for row in result.rows:
        trace = by_id[row.trace_id]
        assert trace.info.tags["mlflow.eval.requestId"] == row.record.request_id
        assert {a.name for a in trace.info.assessments} >= {"exact_match", "expected_response"}
        [root] = [span for span in trace.data.spans if span.parent_id is None]
        assert root.inputs == row.record.request
        assert root.outputs == f"answer {row.record.request.split()[-1]}"
        assert len(row.run.spans[0].inputs) > 0
    return [by_id[row.trace_id] for row in result.rows]


def span_types(trace: Any) -> set[str]:
    return {span.span_type for span in trace.data.spans}


@pytest.mark.parametrize("function", [traced, traced_async, with_spans])
def test_a_traced_function_has_one_trace_per_row(function: Callable[..., Any]) -> None:
    result = evaluate(function, RECORDS)
    for trace, row in zip(check(result), result.rows, strict=True):
        assert span_types(trace) >= {"RETRIEVER", "CHAT_MODEL"}
        assert {span.kind for span in row.run.spans} >= {"RETRIEVER", "CHAT_MODEL"}


@pytest.mark.usefixtures("autolog")
@pytest.mark.parametrize("function", [traced, traced_async, with_spans])
def test_a_traced_function_has_one_trace_per_row_with_autolog(function: Callable[..., Any]) -> None:
    for trace in check(evaluate(function, RECORDS)):
        assert span_types(trace) >= {"RETRIEVER", "CHAT_MODEL"}


def test_a_traced_function_with_a_chain_inside_has_both_in_its_trace(
    chain: Runnable[str, Any],
) -> None:
    @mlflow.trace
    def answer(model_input: dict[str, Any]) -> str:
        return generate(chain.invoke(model_input["messages"][-1]["content"]))

    for trace in check(evaluate(answer, RECORDS)):
        names = [span.name for span in trace.data.spans]
        assert {"answer", "generate", "Finder"} <= {*names}
        assert names.count("Finder") == 1


@pytest.mark.usefixtures("autolog")
def test_an_autologged_chain_inside_a_traced_function_is_recorded_once(
    chain: Runnable[str, Any],
) -> None:
    @mlflow.trace
    def answer(model_input: dict[str, Any]) -> str:
        return generate(chain.invoke(model_input["messages"][-1]["content"]))

    result = evaluate(answer, RECORDS)
    for trace, row in zip(check(result), result.rows, strict=True):
        assert [span.name for span in trace.data.spans].count("Finder") == 1
        assert [span.name for span in row.run.spans].count("Finder") == 1


def test_a_traced_retriever_that_calls_a_retriever_counts_once() -> None:
    @mlflow.trace(span_type="RETRIEVER")
    def find(question: str) -> list[Document]:
        return Finder().invoke(question)

    def answer(model_input: dict[str, Any]) -> str:
        return find(model_input["messages"][-1]["content"])[0].page_content

    result = evaluate(answer, RECORDS)
    check(result, tokens=None)
    assert [len(row.outcome.retrieved_context) for row in result.rows] == [1] * 6


def test_a_chain_with_a_traced_step_has_one_trace_with_all_steps() -> None:
    def answer(question: str) -> str:
        return generate(retrieve(question.split()[-1])[0]["page_content"])

    result = evaluate(RunnableLambda(lambda text: text) | RunnableLambda(answer), RECORDS)
    for trace in check(result):
        names = {span.name for span in trace.data.spans}
        assert names >= {"RunnableSequence", "answer", "generate", "retrieve"}


def test_a_function_without_spans_has_the_trace_of_its_row() -> None:
    def answer(model_input: dict[str, Any]) -> str:
        return f"answer {number_of(model_input)}"

    data = [{**record, "retrieved_context": None} for record in RECORDS]
    result = evaluate(answer, data)
    assert {row.trace_id for row in result.rows} == {
        f"tr-{row.run.root.run_id.hex}" for row in result.rows
    }


def test_a_traced_function_that_fails_has_one_trace_with_its_error() -> None:
    @mlflow.trace
    def fail(model_input: dict[str, Any]) -> str:
        retrieve("1")
        raise ValueError("no idea")

    [row] = evaluate(fail, RECORDS[:1]).rows
    assert row.outcome.error == "ValueError: no idea"
    trace = mlflow.get_trace(row.trace_id)
    assert trace.info.state.value == "ERROR"
    assert {span.name for span in trace.data.spans} >= {"fail", "retrieve"}


def test_the_spans_of_a_rejected_attempt_do_not_count() -> None:
    attempts: list[int] = []

    @mlflow.trace
    def answer(model_input: dict[str, Any]) -> str:
        attempts.append(1)
        documents = retrieve(number_of(model_input))
        if len(attempts) == 1:
            raise RateLimitError("slow down", status_code=429)
        return generate(documents[0]["page_content"])

    result = evaluate(answer, RECORDS[:1])
    assert len(attempts) == 2
    assert len(result.rows[0].outcome.retrieved_context) == 1
    check(result)


def test_a_traced_function_is_evaluated_while_tracing_is_disabled() -> None:
    mlflow.tracing.disable()
    try:
        result = evaluate(lambda model_input: retrieve("0")[0]["page_content"], RECORDS[:1])
    finally:
        mlflow.tracing.enable()
    assert result.metrics["response/ground_truth/exact_match/average"] == 1.0


def test_traces_are_in_the_experiment_of_the_evaluation() -> None:
    result = evaluate(traced, RECORDS[:2], experiment_name="another")
    trace = mlflow.get_trace(result.rows[0].trace_id)
    assert trace.info.experiment_id == result.experiment_id
    assert trace.info.experiment_id != mlflow.get_experiment_by_name("tests").experiment_id


def test_a_span_that_is_left_open_ends_with_its_row() -> None:
    def answer(model_input: dict[str, Any]) -> str:
        mlflow.start_span_no_context("open", parent_span=mlflow.get_current_active_span())
        return generate(retrieve(number_of(model_input))[0]["page_content"])

    [trace] = check(evaluate(answer, RECORDS[:1]))
    assert {span.name for span in trace.data.spans} >= {"open", "retrieve", "generate"}


# Agent endpoints


def trace_of_agent() -> dict[str, Any]:
    """The trace of an agent, as model serving returns it."""
    with mlflow.start_span("agent", span_type="AGENT"):
        retrieve("0")
        generate("answer 0")
    trace_id = mlflow.get_last_active_trace_id()
    mlflow.flush_trace_async_logging()
    trace = mlflow.get_trace(trace_id).to_dict()
    experiment_id = mlflow.get_experiment_by_name("tests").experiment_id
    mlflow.MlflowClient().delete_traces(experiment_id, trace_ids=[trace_id])
    return trace


ANSWERS = {
    "chat_agent": {"messages": [{"role": "assistant", "id": "1", "content": "answer 0"}]},
    "chat_model": {"choices": [{"message": {"role": "assistant", "content": "answer 0"}}]},
    "responses": {
        "output": [
            {
                "type": "message",
                "id": "1",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "answer 0"}],
            }
        ]
    },
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_the_trace_of_an_agent_endpoint_is_part_of_the_row(
    workspace: LocalWorkspace, kind: Any
) -> None:
    trace = trace_of_agent()
    reply = {**ANSWERS[kind], "databricks_output": {"trace": trace}}
    workspace.add_endpoint("agent", lambda messages: reply, kind=kind)
    result = evaluate("endpoints:/agent", RECORDS[:1])
    assert result.metrics[RECALL] == 0.5
    [row] = result.rows
    assert row.outcome.retrieved_context == [{"doc_uri": "0.md", "content": "answer 0"}]
    assert "databricks_output" not in row.outcome.response.response_metadata
    mlflow.flush_trace_async_logging()
    [stored] = mlflow.search_traces(locations=[result.experiment_id], return_type="list")
    assert stored.info.trace_id == row.trace_id
    assert {span.name for span in stored.data.spans} >= {"agent", "retrieve", "ChatDatabricks"}
    [root] = [span for span in stored.data.spans if span.parent_id is None]
    assert root.inputs == "question 0"


def test_an_agent_endpoint_without_a_trace_is_evaluated(workspace: LocalWorkspace) -> None:
    workspace.add_endpoint("agent", lambda messages: "answer 0", kind="chat_agent")
    result = evaluate("endpoints:/agent", RECORDS[:1])
    assert result.metrics["response/ground_truth/exact_match/average"] == 1.0


def test_a_trace_that_cannot_be_read_does_not_fail_the_row(workspace: LocalWorkspace) -> None:
    reply = {**ANSWERS["chat_agent"], "databricks_output": {"trace": {"data": 1}}}
    workspace.add_endpoint("agent", lambda messages: reply, kind="chat_agent")
    assert not evaluate("endpoints:/agent", RECORDS[:1]).failures


# Fallbacks


def failing(question: str) -> str:
    raise ValueError("the first one fails")


def test_fallbacks_are_one_row_with_the_documents_of_the_chain(chain: Runnable[str, Any]) -> None:
    check(evaluate(RunnableLambda(failing).with_fallbacks([chain]), RECORDS), tokens=None)


def test_a_chat_model_with_fallbacks_reports_its_tokens() -> None:
    message = AIMessage(
        "answer 0", usage_metadata={"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
    )
    model = GenericFakeChatModel(messages=iter([message]))
    result = evaluate(model.with_fallbacks([model]), RECORDS[:1])
    assert result.metrics["agent/total_token_count/average"] == 5
