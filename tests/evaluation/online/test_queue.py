"""The queue between a chain and the scorers is bounded, and never blocks the chain forever."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import Any

import pytest
from langchain_core.runnables import Runnable, RunnableLambda

from langchain_dbx_eval import EvaluationCallbackHandler
from langchain_dbx_eval._internal import event_loop
from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.evaluation import CallbackOptions
from tests.evaluation.questions import RECORDS
from tests.polling import wait_until

pytestmark = pytest.mark.usefixtures("mlflow_store")


class Gate:
    """A scorer that waits until it is opened."""

    name = "gate"
    column = "response/gate"

    def __init__(self) -> None:
        self.opened = threading.Event()

    async def score(self, context: Any) -> list[Any]:
        while not self.opened.is_set():
            await asyncio.sleep(0.005)
        return []


ECHO: Runnable[str, str] = RunnableLambda(lambda text: text.upper())


def test_calls_beyond_the_limit_are_dropped_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()
    handler = EvaluationCallbackHandler(scorers=[gate], options=CallbackOptions(max_pending=3))
    with caplog.at_level(logging.WARNING):
        answers = ECHO.batch([f"q{n}" for n in range(8)], {"callbacks": [handler]})
    assert answers == [f"Q{n}" for n in range(8)]
    assert handler.dropped == 5
    assert caplog.text.count("Calls arrive faster than they are scored") == 1
    gate.opened.set()
    assert len(handler.result().rows) == 3
    ECHO.invoke("again", {"callbacks": [handler]})
    assert len(handler.result().rows) == 1


def test_calls_beyond_the_limit_block_and_none_is_lost() -> None:
    gate = Gate()
    handler = EvaluationCallbackHandler(
        RECORDS, scorers=[gate], options=CallbackOptions(max_pending=3)
    )
    done: list[str] = []

    def work() -> None:
        for n in range(8):
            done.append(ECHO.invoke(f"question {n}", {"callbacks": [handler]}))  # noqa: PERF401

    worker = threading.Thread(target=work)
    worker.start()
    wait_until(lambda: len(done) == 3)
    # The fourth call has its answer, and blocks until there is space for its row.
    worker.join(timeout=0.3)
    assert worker.is_alive()
    assert len(done) == 3
    gate.opened.set()
    worker.join(timeout=60)
    assert len(done) == 8
    assert len(handler.result().rows) == 8
    assert handler.dropped == 0


def test_a_chain_in_an_event_loop_blocks_without_a_deadlock() -> None:
    handler = EvaluationCallbackHandler(options=CallbackOptions(max_pending=1, on_full="block"))

    async def invoke() -> list[str]:
        questions = [f"q{n}" for n in range(5)]
        return await asyncio.gather(*(ECHO.ainvoke(q, {"callbacks": [handler]}) for q in questions))

    assert asyncio.run(invoke()) == [f"Q{n}" for n in range(5)]
    assert len(handler.result().rows) == 5


def test_a_chain_in_the_loop_that_scores_never_blocks() -> None:
    gate = Gate()
    handler = EvaluationCallbackHandler(
        scorers=[gate], options=CallbackOptions(max_pending=1, on_full="block")
    )

    async def invoke() -> None:
        for n in range(5):
            await ECHO.ainvoke(f"q{n}", {"callbacks": [handler]})
        await asyncio.to_thread(ECHO.invoke, "in a worker", {"callbacks": [handler]})

    event_loop.run(asyncio.wait_for(invoke(), timeout=60))
    gate.opened.set()
    assert len(handler.result().rows) == 6
    assert handler.dropped == 0


def test_the_chain_does_not_wait_for_scoring() -> None:
    gate = Gate()
    handler = EvaluationCallbackHandler(scorers=[gate])
    assert ECHO.invoke("q", {"callbacks": [handler]}) == "Q"  # while the gate is shut
    gate.opened.set()
    assert len(handler.result().rows) == 1


def test_rows_are_scored_before_result_is_called() -> None:
    scored = threading.Event()

    class Signal:
        name = "signal"
        column = "response/signal"

        def score(self, context: Any) -> list[Any]:
            scored.set()
            return []

    handler = EvaluationCallbackHandler(scorers=[Signal()])
    ECHO.invoke("q", {"callbacks": [handler]})
    assert scored.wait(timeout=60)


def test_results_during_calls_contain_each_call_once() -> None:
    handler = EvaluationCallbackHandler(options=CallbackOptions(on_full="block", max_pending=10))
    worker = threading.Thread(
        target=lambda: [ECHO.invoke(f"q{n}", {"callbacks": [handler]}) for n in range(150)]
    )
    worker.start()
    results = [handler.result()]
    while worker.is_alive():
        time.sleep(0.05)
        results.append(handler.result())
    results.append(handler.result())
    # Without new calls, the same result is returned again.
    different = {id(result): result for result in results}.values()
    requests = [row.record.request for result in different for row in result.rows]
    assert requests == [f"q{n}" for n in range(150)]


def test_a_sample_of_calls_is_evaluated_and_the_rest_counted() -> None:
    handler = EvaluationCallbackHandler(sample_rate=0.5)
    ECHO.batch([f"q{n}" for n in range(80)], {"callbacks": [handler]})
    kept = len(handler.result().rows)
    assert 15 < kept < 65
    assert handler.sampled_out == 80 - kept


@pytest.mark.parametrize("sample_rate", [1.5, -0.1])
def test_an_invalid_sample_rate_is_rejected(sample_rate: float) -> None:
    with pytest.raises(ConfigurationError, match="sample_rate"):
        EvaluationCallbackHandler(sample_rate=sample_rate)


@pytest.mark.parametrize("wrong", [{"max_pending": 0}, {"on_full": "explode"}])
def test_an_invalid_option_is_rejected_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        EvaluationCallbackHandler(options=CallbackOptions(**wrong))
