"""Waiting for work that cannot be interrupted, without being tied to it."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable
from typing import Generic, TypeVar

from langchain_dbx_eval.driver.runtime.request_context import RequestContext
from langchain_dbx_eval.errors import DriverServerError

__all__ = ["watch"]

T = TypeVar("T")


class _End(Generic[T]):
    def __init__(self, error: Exception | None) -> None:
        self.error = error


def watch(work: Callable[[], Iterable[T]], call: RequestContext) -> Generator[T | None, None, None]:
    """Run an iteration in a thread of its own, and stop waiting for it when its call ends.

    Python cannot stop a thread: work that was left alone goes on until its next item.

    Args:
        work: Starts the iteration; called in the new thread.
        call: Whose deadline and client to watch.

    Yields:
        The items, and ``None`` after each `Call.keep_alive` of silence.

    Raises:
        CallEndedError: The answer is not wanted any more.
        Exception: What the work raised.
        DriverServerError: The work raised what ends a thread, such as ``SystemExit``.
    """
    items: queue.SimpleQueue[T | _End[T]] = queue.SimpleQueue()
    abandoned = threading.Event()

    def run() -> None:
        try:
            for item in work():
                items.put(item)
                if abandoned.is_set():
                    break
        except Exception as error:
            items.put(_End(error))
        except BaseException as error:
            # Such as sys.exit() in a user's function: it would end the thread that waits as well,
            # and the client would wait for ever.
            ended = DriverServerError(f"The model's call was ended by {type(error).__name__}.")
            ended.__cause__ = error
            items.put(_End(ended))
        else:
            items.put(_End(None))

    threading.Thread(target=run, name="dbx-eval-engine-call", daemon=True).start()
    try:
        heard = time.monotonic()
        while True:
            try:
                item = items.get(timeout=call.pause())
            except queue.Empty:
                call.check()
                if time.monotonic() - heard >= call.keep_alive:
                    heard = time.monotonic()
                    yield None
                continue
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            heard = time.monotonic()
            yield item
            call.check()  # items that never pause are no reason to go on
    finally:
        abandoned.set()
