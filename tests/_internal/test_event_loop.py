"""The event loop of the process: waiting for its coroutines."""

from __future__ import annotations

import asyncio
import signal
import threading

import pytest

from langchain_dbx_eval._internal import event_loop


def test_a_signal_that_another_thread_receives_ends_the_wait() -> None:
    ended = []

    async def send_and_wait() -> None:
        # The loop has a thread of its own: the waiting main thread is not interrupted.
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        await asyncio.sleep(10)
        ended.append("not interrupted")

    # The workers of pytest-xdist may ignore it.
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            event_loop.run(send_and_wait())
    finally:
        signal.signal(signal.SIGINT, previous)
    assert not ended


def test_a_result_that_takes_long_is_waited_for() -> None:
    assert event_loop.run(asyncio.sleep(0.5, "done")) == "done"


def test_a_timeout_error_of_the_coroutine_is_raised() -> None:
    async def fail() -> None:
        await asyncio.sleep(0.5)
        raise TimeoutError("of the coroutine")

    with pytest.raises(TimeoutError, match="of the coroutine"):
        event_loop.run(fail())
