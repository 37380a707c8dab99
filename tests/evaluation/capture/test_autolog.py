"""A call that MLflow's own tracer traces is captured with the id of that trace."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import mlflow
import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import Runnable, RunnableLambda
from mlflow.langchain.langchain_tracer import MlflowLangchainTracer

from langchain_dbx_eval import EvaluationCallbackHandler, evaluate
from langchain_dbx_eval.evaluation.capture.handler import CaptureHandler
from langchain_dbx_eval.evaluation.capture.spans import CapturedRun
from tests.evaluation.calling import METHODS, gather, invoke
from tests.evaluation.questions import RECORDS

QUESTIONS = [f"question {n}" for n in range(6)]


class CollectingHandler(CaptureHandler):
    """Keeps the calls that have ended."""

    def __init__(self) -> None:
        self.calls: list[CapturedRun] = []
        super().__init__(lambda recording: self.calls.append(recording.to_run()))


@pytest.fixture
def autolog(mlflow_store: str) -> Iterator[None]:
    mlflow.langchain.autolog(silent=True)
    yield
    mlflow.langchain.autolog(disable=True, silent=True)


def check_traces(calls: list[CapturedRun]) -> None:
    """Each call has its own trace in the store, with its question and answer."""
    mlflow.flush_trace_async_logging()
    assert sorted(call.request for call in calls) == QUESTIONS
    assert len({call.trace_id for call in calls}) == len(QUESTIONS)
    for call in calls:
        trace = mlflow.get_trace(call.trace_id)
        [root] = [span for span in trace.data.spans if span.parent_id is None]
        assert root.span_id == call.trace_span_id
        assert root.inputs == call.request
        assert root.outputs == call.outcome().response


@pytest.mark.usefixtures("autolog")
@pytest.mark.parametrize("call", METHODS, ids=lambda c: c.__name__)
def test_a_call_has_the_id_of_its_autolog_trace(
    chain: Runnable[str, Any], call: Callable[..., None]
) -> None:
    handler = CollectingHandler()
    call(chain, QUESTIONS, {"callbacks": [handler]})
    check_traces(handler.calls)


def failing(question: str) -> str:
    raise ValueError("the first one fails")


@pytest.mark.usefixtures("autolog")
@pytest.mark.parametrize("call", [invoke, gather], ids=lambda c: c.__name__)
def test_every_row_of_a_chain_with_fallbacks_is_in_the_trace_of_its_call(
    chain: Runnable[str, Any], call: Callable[..., None]
) -> None:
    handler = EvaluationCallbackHandler(RECORDS)
    call(RunnableLambda(failing).with_fallbacks([chain]), QUESTIONS, {"callbacks": [handler]})
    result = handler.result()
    assert (len(result.rows), result.failures, result.pending_rows) == (len(QUESTIONS), [], 0)
    for row in result.rows:
        trace = mlflow.get_trace(row.trace_id)
        [span] = [span for span in trace.data.spans if span.span_id == row.run.trace_span_id]
        assert span.inputs == row.run.request
        scored = {a.name for a in trace.info.assessments if a.span_id == span.span_id}
        assert {"exact_match", "token_f1"} <= scored


@pytest.mark.usefixtures("autolog")
def test_rows_that_share_a_trace_are_all_written(chain: Runnable[str, Any]) -> None:
    handler = EvaluationCallbackHandler(RECORDS)
    fallbacks = RunnableLambda(failing).with_fallbacks([chain])
    # MLflow (3.17) puts these calls into one trace, and leaves it open in the thread.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(fallbacks.batch, QUESTIONS, {"callbacks": [handler]}).result()
    result = handler.result()
    assert len({row.trace_id for row in result.rows}) == 1
    assert (len(result.rows), result.failures, result.pending_rows) == (len(QUESTIONS), [], 0)


@pytest.mark.usefixtures("autolog")
def test_evaluate_writes_one_trace_per_row_of_a_chain_with_fallbacks(
    chain: Runnable[str, Any],
) -> None:
    rows = evaluate(RunnableLambda(failing).with_fallbacks([chain]), RECORDS).rows
    mlflow.flush_trace_async_logging()
    traces = mlflow.search_traces(return_type="list")
    assert sorted(trace.info.trace_id for trace in traces) == sorted(row.trace_id for row in rows)
    assert len(rows) == len(RECORDS)
    assert all(trace.search_spans(span_type="RETRIEVER") for trace in traces)


@pytest.mark.usefixtures("mlflow_store")
@pytest.mark.parametrize("tracer_first", [True, False])
@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize("call", [invoke, gather], ids=lambda c: c.__name__)
def test_a_tracer_is_found_before_and_after_our_handler(
    chain: Runnable[str, Any], call: Callable[..., None], inline: bool, tracer_first: bool
) -> None:
    handler = CollectingHandler()
    handlers: list[BaseCallbackHandler] = [handler, MlflowLangchainTracer(run_inline=inline)]
    call(chain, QUESTIONS, {"callbacks": handlers[::-1] if tracer_first else handlers})
    check_traces(handler.calls)


@pytest.mark.usefixtures("autolog")
def test_a_failed_call_has_the_id_of_its_autolog_trace() -> None:
    def fail(question: str) -> str:
        raise ValueError("no idea")

    handler = CollectingHandler()
    RunnableLambda(fail).batch(QUESTIONS, {"callbacks": [handler]}, return_exceptions=True)
    mlflow.flush_trace_async_logging()
    states = {mlflow.get_trace(call.trace_id).info.state.value for call in handler.calls}
    assert states == {"ERROR"}


@pytest.mark.usefixtures("autolog")
def test_calls_in_one_trace_have_different_spans() -> None:
    handler = CollectingHandler()
    inner = RunnableLambda(str.upper).with_config(callbacks=[handler])
    RunnableLambda(lambda q: inner.invoke(q) + inner.invoke(q)).invoke("q")
    first, second = handler.calls
    mlflow.flush_trace_async_logging()
    spans = {span.span_id: span for span in mlflow.get_trace(first.trace_id).data.spans}
    assert second.trace_id == first.trace_id
    assert first.trace_span_id != second.trace_span_id
    assert {spans[call.trace_span_id].parent_id for call in handler.calls} != {None}


@pytest.mark.usefixtures("mlflow_store")
def test_without_a_tracer_a_call_has_no_trace_id(chain: Runnable[str, Any]) -> None:
    handler = CollectingHandler()
    with mlflow.start_span("unrelated"):
        chain.batch(QUESTIONS, {"callbacks": [handler]})
    assert {call.trace_id for call in handler.calls} == {None}


@pytest.mark.usefixtures("autolog")
def test_a_trace_that_mlflow_does_not_record_has_no_id(chain: Runnable[str, Any]) -> None:
    handler = CollectingHandler()
    mlflow.tracing.disable()
    try:
        chain.invoke("question 1", {"callbacks": [handler]})
    finally:
        mlflow.tracing.enable()
    assert [call.trace_id for call in handler.calls] == [None]


@pytest.mark.parametrize("caller", ["evaluate", "callback"])
@pytest.mark.usefixtures("autolog")
def test_each_row_has_one_trace_with_its_scores(chain: Runnable[str, Any], caller: str) -> None:
    if caller == "evaluate":
        result = evaluate(chain, RECORDS)
    else:
        handler = EvaluationCallbackHandler(RECORDS)
        chain.batch([r["request"] for r in RECORDS], {"callbacks": [handler]})
        result = handler.result()
    mlflow.flush_trace_async_logging()
    experiment = mlflow.get_experiment_by_name("tests").experiment_id
    traces = mlflow.search_traces(locations=[experiment], return_type="list")
    assert len(traces) == len(RECORDS)
    by_id = {trace.info.trace_id: trace for trace in traces}
    for row in result.rows:
        trace = by_id[row.trace_id]
        assert trace.info.tags["mlflow.eval.requestId"] == row.record.request_id
        names = {a.name for a in trace.info.assessments}
        assert {"token_f1", "exact_match", "document_recall", "expected_response"} <= names
        assert len(trace.data.spans) > 1
