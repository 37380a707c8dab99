"""The package's own event loop: there is one, and no code on it waits for itself."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest
from langchain_core.runnables import Runnable, RunnableLambda

from langchain_dbx_eval import EvaluationCallbackHandler, evaluate
from tests.evaluation.questions import RECORDS

PROGRAM = """
import asyncio, os, signal, sys, threading
from langchain_dbx_eval._internal import event_loop

async def which():
    return id(asyncio.get_running_loop())

sys.setswitchinterval(1e-6)
seen, together = [], threading.Barrier(16)

def first():
    together.wait()
    seen.append(event_loop.run(which()))

threads = [threading.Thread(target=first) for _ in range(16)]
for thread in threads: thread.start()
for thread in threads: thread.join()
# Flushed, or the child would print it again.
print(len(set(seen)), "loop", flush=True)
if child := os.fork() if hasattr(os, "fork") else -1:
    print("child", os.waitpid(child, 0)[1] if child > 0 else 0)
else:
    signal.alarm(60)
    event_loop.run(which())
"""


def test_concurrent_threads_share_one_loop_and_a_forked_child_has_its_own() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=110, check=False
    )
    assert done.stdout.split("\n")[:2] == ["1 loop", "child 0"], done.stderr


@pytest.mark.usefixtures("mlflow_store")
class TestWaitingWithinTheLoop:
    def test_an_evaluation_in_an_async_chain_that_is_evaluated_is_an_error(self) -> None:
        async def chain(request: dict) -> int:
            return len(evaluate(str, RECORDS).rows)

        [row] = evaluate(chain, RECORDS[:1]).rows
        assert "would deadlock" in row.outcome.error

    def test_an_evaluation_in_a_thread_of_that_chain_runs(self) -> None:
        async def chain(request: dict) -> str:
            return str(len((await asyncio.to_thread(evaluate, str, RECORDS)).rows))

        [row] = evaluate(chain, RECORDS[:1]).rows
        assert (row.outcome.error, row.outcome.response) == (None, "6")

    def test_a_callbacks_result_in_that_chain_is_an_error(self, chain: Runnable) -> None:
        handler = EvaluationCallbackHandler(RECORDS)

        async def call(request: dict) -> int:
            await chain.ainvoke("question 0", config={"callbacks": [handler]})
            return len(handler.result().rows)

        [row] = evaluate(call, RECORDS[:1]).rows
        assert "would deadlock" in row.outcome.error
        assert len(handler.result().rows) == 1

    def test_a_callbacks_result_is_available_in_the_users_own_loop(self) -> None:
        handler = EvaluationCallbackHandler(RECORDS)

        async def call() -> int:
            chain = RunnableLambda(str.upper)
            await chain.ainvoke("question 0", config={"callbacks": [handler]})
            return len(handler.result().rows)

        assert asyncio.run(call()) == 1

    def test_threads_that_call_result_at_once_get_the_same_result(self, chain: Runnable) -> None:
        handler = EvaluationCallbackHandler(RECORDS)
        chain.batch(["question 0", "question 1"], config={"callbacks": [handler]})
        results = []
        threads = [
            threading.Thread(target=lambda: results.append(handler.result())) for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert [len(result.rows) for result in results] == [2, 2, 2]
        assert len({result.run_id for result in results}) == 1
