"""Flows: one generator run synchronously and with asyncio, concurrently and after errors."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from langchain_dbx_eval import ChatDatabricks, Databricks, DatabricksEmbeddings
from langchain_dbx_eval._internal.daemon_threads import SharedCall
from langchain_dbx_eval._internal.retry import retry_listener
from langchain_dbx_eval.client.flow import Blocking, Concurrent, Flow, run, run_async
from tests.loopback import Answer, LoopbackServer, Received, chat_answer


def run_in_new_loop(flow: Flow[Any]) -> Any:
    return asyncio.run(run_async(flow))


DRIVERS = pytest.mark.parametrize("drive", [run, run_in_new_loop], ids=["sync", "async"])
Driver = Callable[[Flow[Any]], Any]


def blocking(function: Callable[[], Any]) -> Blocking:
    return Blocking(SharedCall(function), timeout=60)


def add_one(get_number: Callable[[], int]) -> Flow[int]:
    number = yield blocking(get_number)
    return number + 1


def raise_key_error() -> Any:
    raise KeyError


@DRIVERS
def test_a_step_is_sent_its_result(drive: Driver) -> None:
    assert drive(add_one(lambda: 1)) == 2


@DRIVERS
def test_an_error_is_raised_at_its_step_and_can_be_handled_there(drive: Driver) -> None:
    def recover() -> Flow[int]:
        try:
            yield blocking(raise_key_error)
        except KeyError:
            return (yield blocking(lambda: 3))

    assert drive(recover()) == 3


@DRIVERS
def test_an_error_that_is_not_handled_is_raised(drive: Driver) -> None:
    with pytest.raises(KeyError):
        drive(add_one(raise_key_error))


@DRIVERS
def test_concurrent_results_are_in_the_order_of_the_flows(drive: Driver) -> None:
    def add_all() -> Flow[list[int]]:
        return (yield Concurrent([add_one(lambda i=i: i) for i in range(9)], limit=3))

    assert drive(add_all()) == list(range(1, 10))


@DRIVERS
def test_after_a_failure_no_further_flow_starts(drive: Driver) -> None:
    started: list[int] = []

    def fail() -> Any:
        started.append(0)
        raise KeyError

    def all_of_them() -> Flow[Any]:
        # One at a time: the first failure must be the only flow that ran.
        return (yield Concurrent([add_one(fail) for _ in range(20)], limit=1))

    with pytest.raises(KeyError):
        drive(all_of_them())
    assert started == [0]


def test_after_a_failure_in_a_thread_the_queue_is_dropped() -> None:
    started: list[int] = []
    release = threading.Event()

    def wait() -> int:
        started.append(1)
        assert release.wait(60)
        return 0

    def fail() -> int:
        # The other flow ends only after this failure.
        threading.Timer(0.1, release.set).start()
        raise KeyError

    def all_of_them() -> Flow[Any]:
        flows = [add_one(fail), *(add_one(wait) for _ in range(20))]
        return (yield Concurrent(flows, limit=2))

    with pytest.raises(KeyError):
        run(all_of_them())
    assert len(started) <= 2


async def test_a_failure_leaves_no_task_behind() -> None:
    release = threading.Event()

    def both() -> Flow[Any]:
        return (yield Concurrent([add_one(raise_key_error), add_one(lambda: release.wait(30))]))

    before = asyncio.all_tasks()
    try:
        with pytest.raises(KeyError):
            await run_async(both())
        assert asyncio.all_tasks() == before
    finally:
        release.set()


EMBEDDED = {"data": [{"index": 0, "embedding": [1.0]}]}


@pytest.mark.parametrize(
    ("make", "call", "answer"),
    [
        (ChatDatabricks, lambda m: m.batch(["a", "b"]), chat_answer("ok")),
        (
            lambda **k: Databricks(task="llm/v1/chat", endpoint_name=k.pop("model"), **k),
            lambda m: m.batch(["a", "b"]),
            chat_answer("ok"),
        ),
        (
            lambda **k: DatabricksEmbeddings(chunk_size=1, **k),
            lambda m: m.embed_documents(["a", "b"]),
            EMBEDDED,
        ),
    ],
    ids=["chat", "llm", "embeddings"],
)
def test_a_retry_listener_of_the_caller_is_called_for_a_retry_in_a_thread(
    make: Any, call: Any, answer: Any
) -> None:
    failures = iter([Answer(status=429, headers={"Retry-After": "0"})])

    def flaky(_: Received) -> Any:
        return next(failures, answer)

    errors: list[BaseException] = []
    token = retry_listener.set(errors.append)
    try:
        with LoopbackServer(flaky) as server:
            call(make(model="m", max_retries=1, **server.login))
    finally:
        retry_listener.reset(token)
    assert [error.status_code for error in errors] == [429]  # type: ignore[attr-defined]
