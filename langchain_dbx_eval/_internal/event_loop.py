"""One event loop for the life of the process, in a thread of its own.

Async clients keep connections to the loop that they were first used in, and fail in another one
(langchain-ai/langchain#35783); and a notebook's own loop is busy running the cell.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import contextvars
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from functools import cache
from typing import Any, TypeVar

from langchain_dbx_eval.errors import ConfigurationError

__all__ = ["is_own_thread", "refuse_to_wait", "run", "start"]

_Result = TypeVar("_Result")
_MOST_THREADS = 512
_END_TIMEOUT_S = 5.0
_LOOP_THREAD = "dbx-eval-loop"
_WORKER_THREAD = "dbx-eval-worker"
_beginning = threading.Lock()


def run(coroutine: Coroutine[Any, Any, _Result]) -> _Result:
    """Run a coroutine on the loop, and wait for its result.

    The coroutine sees the caller's context variables. Ctrl-C, and whatever else ends the wait,
    cancels it.

    Raises:
        ConfigurationError: The caller runs on the loop itself, which would wait for itself.
    """
    try:
        refuse_to_wait()
    except ConfigurationError:
        coroutine.close()
        raise
    future = asyncio.run_coroutine_threadsafe(coroutine, _loop())
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


def start(coroutine: Coroutine[Any, Any, _Result]) -> Future[_Result]:
    """Run a coroutine on the loop in the background, with none of the caller's context variables.

    LangChain keeps a chain's callbacks in one: with it, a judge that is asked in the background of
    a chain would be taken for a step of that chain.
    """
    return contextvars.Context().run(asyncio.run_coroutine_threadsafe, coroutine, _loop())


def refuse_to_wait() -> None:
    """See to it that nobody on the loop waits for the loop: both would stand still for ever.

    Raises:
        ConfigurationError: The caller runs on the loop.
    """
    if threading.current_thread().name == _LOOP_THREAD:
        msg = (
            "This was called by async code that an evaluation runs, such as a chain or a scorer, "
            "and would wait for itself. Call it in a thread: await asyncio.to_thread(…)."
        )
        raise ConfigurationError(msg)


def is_own_thread() -> bool:
    """Whether this is the loop's thread or a worker's: one that must not wait for the loop."""
    return threading.current_thread().name.startswith((_LOOP_THREAD, _WORKER_THREAD))


def _loop() -> asyncio.AbstractEventLoop:
    # `cache` alone would let two threads that come first make two.
    with _beginning:
        return _begun()


@cache
def _begun() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    # A synchronous chain runs in this pool; the rows in flight bound it, not the CPU count.
    loop.set_default_executor(ThreadPoolExecutor(_MOST_THREADS, _WORKER_THREAD))
    threading.Thread(target=_run, args=(loop,), name=_LOOP_THREAD, daemon=True).start()
    atexit.register(_end, loop)
    return loop


def _forget() -> None:
    # A forked child has the loop's object and not its thread: who waits for it waits for ever.
    _begun.cache_clear()
    atexit.unregister(_end)


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_forget)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    while not loop.is_closed():
        try:
            loop.run_forever()
        except (SystemExit, KeyboardInterrupt):
            # asyncio lets these two out of any task, such as a chain that calls `sys.exit()`, and
            # stops for them. The task has them too, so that who waits for it is told.
            continue
        return


def _end(loop: asyncio.AbstractEventLoop) -> None:
    # As `asyncio.run` does for its own: HTTP sessions close with the loop, and complain otherwise.
    ended = asyncio.run_coroutine_threadsafe(loop.shutdown_asyncgens(), loop)
    with contextlib.suppress(TimeoutError, FutureTimeoutError):
        ended.result(timeout=_END_TIMEOUT_S)
