"""Threads that are not waited for: neither after a deadline or Ctrl-C, nor at exit.

The threads of `concurrent.futures` are joined when the interpreter exits, and its ``with`` blocks
join them after Ctrl-C: a call that hangs holds the whole process.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, wait
from contextvars import Context, copy_context
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

__all__ = ["SIGNAL_POLL_S", "SharedCall", "result_of", "run_all", "submit", "wait_for"]

_Result = TypeVar("_Result")
_IDLE_S = 30.0
SIGNAL_POLL_S = 0.2
"""The longest time for which the main thread may wait for a lock. A signal that arrives just before
such a wait, or at another thread, does not end it: its handler runs when the main thread runs next.
"""

_Task = tuple["Future[Any]", Context, Callable[[], Any]]
_idle: deque[SimpleQueue[_Task]] = deque()
# A forked child has the queues but not their threads.
os.register_at_fork(after_in_child=_idle.clear)


def submit(function: Callable[[], _Result]) -> Future[_Result]:
    """Call a function in an idle or new daemon thread, with a copy of the caller's context."""
    future: Future[_Result] = Future()
    try:
        tasks = _idle.pop()
    except IndexError:
        tasks = SimpleQueue()
        name = "dbx-eval-daemon"
        threading.Thread(target=_work, args=(tasks,), name=name, daemon=True).start()
    tasks.put((future, copy_context(), function))
    return future


def wait_for(futures: Collection[Future[Any]], timeout: float | None = None) -> None:
    """Wait until futures are done; Ctrl-C ends the wait, see `SIGNAL_POLL_S`.

    Args:
        futures: The futures.
        timeout: The largest number of seconds; None: no limit.
    """
    end = float("inf") if timeout is None else time.monotonic() + timeout
    waiting = {future for future in futures if not future.done()}
    while waiting and (remaining := end - time.monotonic()) > 0:
        waiting = wait(waiting, min(SIGNAL_POLL_S, remaining)).not_done


def result_of(future: Future[_Result], timeout: float | None = None) -> _Result:
    """Wait for a future as `wait_for` does, and return its result.

    Raises:
        concurrent.futures.TimeoutError: It is not done in time.
        BaseException: What its function raised.
    """
    wait_for([future], timeout)
    return future.result(0)


def run_all(functions: Sequence[Callable[[], _Result]], limit: int) -> list[_Result]:
    """Call functions concurrently.

    After the first error, no further function is called, and those that run are waited for. Ctrl-C
    does not wait for them.

    Args:
        functions: The functions. Each is called with a copy of the caller's context.
        limit: The largest number of functions that run at the same time.

    Returns:
        Their results, in the order of the functions.

    Raises:
        BaseException: What a function raised.
    """
    if len(functions) <= 1 or limit == 1:
        return [function() for function in functions]
    waiting = deque((index, copy_context(), one) for index, one in enumerate(functions))
    results: dict[int, _Result] = {}

    def work() -> None:
        while True:
            try:
                index, context, function = waiting.popleft()
            except IndexError:
                return
            try:
                results[index] = context.run(function)
            except BaseException:
                waiting.clear()
                raise

    workers = [submit(work) for _ in range(min(limit, len(functions)))]
    try:
        for worker in workers:
            result_of(worker)
    except Exception:
        wait_for(workers)
        raise
    finally:
        waiting.clear()
    return [results[index] for index in range(len(functions))]


class SharedCall(Generic[_Result]):
    """A blocking function that runs once at a time; callers in the meantime share its result.

    A login that hangs occupies one thread, however many calls have waited for it in vain.

    Args:
        function: The function.
    """

    def __init__(self, function: Callable[[], _Result]) -> None:
        self._function = function
        self._running: Future[_Result] | None = None

    def call(self) -> _Result:
        """Call the function in this thread."""
        return self._function()

    def start(self) -> Future[_Result]:
        """Return the future of the call that is running, or of a new one."""
        running = self._running
        if running is None or running.done():
            self._running = running = submit(self._function)
        return running


def _work(tasks: SimpleQueue[_Task]) -> None:
    while True:
        try:
            future, context, function = tasks.get(timeout=_IDLE_S)
        except Empty:
            with contextlib.suppress(ValueError):
                _idle.remove(tasks)
                return
            continue  # taken by `submit` just now: the task is about to arrive
        if future.set_running_or_notify_cancel():
            try:
                result = context.run(function)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)
        # An idle thread must keep neither the result nor an error's frames alive.
        future = context = function = result = None  # type: ignore[assignment]
        _idle.append(tasks)
