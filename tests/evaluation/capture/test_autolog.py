"""Where MLflow's own tracer traces a call, the callback knows its trace."""

from __future__ import annotations

import asyncio
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
from langchain_dbx_eval.evaluation.capture.recorder import CapturedRun, RunCapture
from tests.evaluation.questions import RECORDS

QUESTIONS = [f"question {n}" for n in range(6)]


class Listener(CaptureHandler):
    """Keeps the calls that have ended."""

    def __init__(self) -> None:
        self.calls: list[CapturedRun] = []
        super().__init__(RunCapture(lambda call: self.calls.append(call.captured())))


@pytest.fixture
def autolog(mlflow_store: str) -> Iterator[None]:
    mlflow.langchain.autolog(silent=True)
    yield
    mlflow.langchain.autolog(disable=True, silent=True)


def invoke(chain: Runnable[str, Any], config: Any) -> None:
    for question in QUESTIONS:
        chain.invoke(question, config)


def batch(chain: Runnable[str, Any], config: Any) -> None:
    chain.batch(QUESTIONS, config)


def stream(chain: Runnable[str, Any], config: Any) -> None:
    for question in QUESTIONS:
        list(chain.stream(question, config))


def threads(chain: Runnable[str, Any], config: Any) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda question: chain.invoke(question, config), QUESTIONS))


def abatch(chain: Runnable[str, Any], config: Any) -> None:
    asyncio.run(chain.abatch(QUESTIONS, config))


def gather(chain: Runnable[str, Any], config: Any) -> None:
    async def ask_all() -> None:
        await asyncio.gather(*(chain.ainvoke(question, config) for question in QUESTIONS))

    asyncio.run(ask_all())


def astream(chain: Runnable[str, Any], config: Any) -> None:
    async def read(question: str) -> None:
        async for _ in chain.astream(question, config):
            pass

    async def read_all() -> None:
        await asyncio.gather(*map(read, QUESTIONS))

    asyncio.run(read_all())


def check_traces(calls: list[CapturedRun]) -> None:
    """Each call's trace is in the store, is about its question, and is no other call's."""
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
@pytest.mark.parametrize(
    "call", [invoke, batch, stream, threads, abatch, gather, astream], ids=lambda c: c.__name__
)
def test_a_call_is_known_by_the_trace_that_autolog_makes_of_it(
    chain: Runnable[str, Any], call: Callable[..., None]
) -> None:
    handler = Listener()
    call(chain, {"callbacks": [handler]})
    check_traces(handler.calls)


@pytest.mark.usefixtures("mlflow_store")
@pytest.mark.parametrize("tracer_first", [True, False])
@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize("call", [invoke, gather], ids=lambda c: c.__name__)
def test_a_tracer_given_by_hand_is_found_before_and_behind(
    chain: Runnable[str, Any], call: Callable[..., None], inline: bool, tracer_first: bool
) -> None:
    handler = Listener()
    handlers: list[BaseCallbackHandler] = [handler, MlflowLangchainTracer(run_inline=inline)]
    call(chain, {"callbacks": handlers[::-1] if tracer_first else handlers})
    check_traces(handler.calls)


@pytest.mark.usefixtures("autolog")
def test_a_call_that_fails_has_its_trace_too() -> None:
    def fail(question: str) -> str:
        raise ValueError("no idea")

    handler = Listener()
    RunnableLambda(fail).batch(QUESTIONS, {"callbacks": [handler]}, return_exceptions=True)
    mlflow.flush_trace_async_logging()
    states = {mlflow.get_trace(call.trace_id).info.state.value for call in handler.calls}
    assert states == {"ERROR"}


@pytest.mark.usefixtures("autolog")
def test_calls_in_one_trace_are_told_apart_by_their_spans() -> None:
    handler = Listener()
    inner = RunnableLambda(str.upper).with_config(callbacks=[handler])
    RunnableLambda(lambda q: inner.invoke(q) + inner.invoke(q)).invoke("q")
    first, second = handler.calls
    mlflow.flush_trace_async_logging()
    spans = {span.span_id: span for span in mlflow.get_trace(first.trace_id).data.spans}
    assert second.trace_id == first.trace_id
    assert first.trace_span_id != second.trace_span_id
    assert {spans[call.trace_span_id].parent_id for call in handler.calls} != {None}


@pytest.mark.usefixtures("mlflow_store")
def test_without_a_tracer_there_is_no_trace(chain: Runnable[str, Any]) -> None:
    handler = Listener()
    with mlflow.start_span("somebody else's"):
        chain.batch(QUESTIONS, {"callbacks": [handler]})
    assert {call.trace_id for call in handler.calls} == {None}


@pytest.mark.usefixtures("autolog")
def test_a_trace_that_mlflow_does_not_record_is_none(chain: Runnable[str, Any]) -> None:
    handler = Listener()
    mlflow.tracing.disable()
    try:
        chain.invoke("question 1", {"callbacks": [handler]})
    finally:
        mlflow.tracing.enable()
    assert [call.trace_id for call in handler.calls] == [None]


@pytest.mark.parametrize("how", ["evaluate", "callback"])
@pytest.mark.usefixtures("autolog")
def test_each_row_has_one_trace_with_its_scores(chain: Runnable[str, Any], how: str) -> None:
    if how == "evaluate":
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
        said = {a.name for a in trace.info.assessments}
        assert {"token_f1", "exact_match", "document_recall", "expected_response"} <= said
        assert len(trace.data.spans) > 1
