"""One event loop for the life of the process, in a thread of its own.

Async clients bind their connections to the loop of their first call, and fail in another one
(langchain-ai/langchain#35783); and a notebook's own loop is busy running the cell.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import contextvars
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

from langchain_dbx_eval._internal import daemon_threads
from langchain_dbx_eval._internal.deadline import TIMEOUT_ERRORS
from langchain_dbx_eval.errors import ConfigurationError

__all__ = [
    "call_in_thread",
    "ensure_off_loop",
    "is_own_thread",
    "run",
    "start",
    "start_in_thread",
]

_Result = TypeVar("_Result")
_CLOSE_TIMEOUT_S = 5.0
_LOOP_THREAD = "dbx-eval-loop"
_start_lock = threading.Lock()
_worker = threading.local()


class _DaemonExecutor(ThreadPoolExecutor):
    """Runs the synchronous chains and scorers of the loop in daemon threads.

    Python joins the threads of `ThreadPoolExecutor` when it exits: a chain or a scorer that hangs
    would hold the process, also after Ctrl-C. The rows in flight limit the number of threads, and
    not this executor: threads that are hung would use up its limit.
    """

    def submit(self, fn: Callable[..., _Result], /, *args: Any, **kwargs: Any) -> Future[_Result]:
        def work() -> _Result:
            _worker.active = True
            try:
                return fn(*args, **kwargs)
            finally:
                _worker.active = False

        # The threads of an executor do not have the context variables of the caller.
        return contextvars.Context().run(daemon_threads.submit, work)


_executor = _DaemonExecutor()


def run(coroutine: Coroutine[Any, Any, _Result]) -> _Result:
    """Run a coroutine on the loop and wait for its result.

    The coroutine runs with a copy of the caller's context variables. Ctrl-C, or any other exception
    that ends the wait, cancels it.

    Returns:
        The coroutine's result.

    Raises:
        ConfigurationError: The caller runs on the loop, where waiting would deadlock.
        BaseException: What the coroutine raised.
    """
    try:
        ensure_off_loop()
    except ConfigurationError:
        coroutine.close()
        raise
    future = asyncio.run_coroutine_threadsafe(coroutine, _loop())
    try:
        return daemon_threads.result_of(future)
    except BaseException:
        future.cancel()
        raise


def start(coroutine: Coroutine[Any, Any, _Result]) -> Future[_Result]:
    """Run a coroutine on the loop in the background, without the caller's context variables.

    LangChain stores a chain's callbacks in a context variable: with it, a judge that runs in the
    background of a chain would be recorded as a step of that chain.
    """
    return contextvars.Context().run(asyncio.run_coroutine_threadsafe, coroutine, _loop())


def start_in_thread(function: Callable[[], _Result]) -> Future[_Result]:
    """Call a function in a daemon thread, without the caller's context variables (see `start`)."""
    return _executor.submit(function)


async def call_in_thread(function: Callable[..., _Result], *args: Any, **kwargs: Any) -> _Result:
    """Call a function of the user in a thread, and raise what it raises.

    `asyncio.to_thread` never returns if the function raises StopIteration (Python 3.11).
    """
    results: list[_Result] = []
    errors: list[BaseException] = []

    def call() -> None:
        try:
            results.append(function(*args, **kwargs))
        except BaseException as error:
            errors.append(error)

    await asyncio.to_thread(call)
    if errors:
        raise errors[0]
    return results[0]


def ensure_off_loop() -> None:
    """Check that the caller does not run on the loop: waiting for the loop there would deadlock.

    Raises:
        ConfigurationError: The caller runs on the loop.
    """
    if threading.current_thread().name == _LOOP_THREAD:
        msg = (
            "Async code that an evaluation runs, such as a chain or a scorer, called a blocking "
            "function of langchain-dbx-eval: this would deadlock. Call the function in a thread: "
            "await asyncio.to_thread(…)."
        )
        raise ConfigurationError(msg)


def is_own_thread() -> bool:
    """Whether this thread is the loop's or works for it, and so must not wait for the loop."""
    return threading.current_thread().name == _LOOP_THREAD or getattr(_worker, "active", False)


def _loop() -> asyncio.AbstractEventLoop:
    # Without the lock, `cache` would let two threads start one loop each. A forked child has the
    # loop's object but not its thread, so each process starts its own.
    with _start_lock:
        return _loop_of_process(os.getpid())


@cache
def _loop_of_process(pid: int) -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_default_executor(_executor)
    threading.Thread(target=_run_forever, args=(loop,), name=_LOOP_THREAD, daemon=True).start()
    atexit.register(_close, loop, pid)
    return loop


def _run_forever(loop: asyncio.AbstractEventLoop) -> None:
    while not loop.is_closed():
        try:
            loop.run_forever()
        except (SystemExit, KeyboardInterrupt):
            # asyncio raises these two out of any task, such as a chain that calls `sys.exit()`,
            # and stops. The task stores them too, so they reach the thread that waits for it.
            continue
        return


def _close(loop: asyncio.AbstractEventLoop, pid: int) -> None:
    if pid != os.getpid():
        return
    # As `asyncio.run` does: HTTP sessions are closed with the loop, and warn otherwise.
    closed = asyncio.run_coroutine_threadsafe(loop.shutdown_asyncgens(), loop)
    with contextlib.suppress(*TIMEOUT_ERRORS):
        closed.result(timeout=_CLOSE_TIMEOUT_S)
