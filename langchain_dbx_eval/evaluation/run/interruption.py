"""Ctrl-C and SIGTERM during an evaluation: once to end it in good order, twice to end it now."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn

__all__ = ["Interruption", "listening"]

_logger = logging.getLogger(__name__)


class Interruption:
    """Whether somebody wants the evaluation to end.

    Args:
        on_request: Called at the first signal, in the main thread.
        advice: How to go on, told wherever it ends.
    """

    def __init__(self, on_request: Callable[[], None], advice: str) -> None:
        self._on_request = on_request
        self._advice = advice
        self.signal: signal.Signals | None = None
        """The first signal that came."""
        self.listeners: dict[int, Any] = {}
        """Who listened before, by signal."""

    def take(self, number: int, frame: FrameType | None) -> None:
        """A signal has come; the interpreter calls this between two steps of the main thread."""
        if self.signal is not None:
            listener = self.listeners.get(number)
            if callable(listener):
                # Such as Spark's, which cancels its jobs, and raises as Python's own does.
                with contextlib.suppress(KeyboardInterrupt):
                    listener(number, frame)
            self.end("Stopped at once; what was finished is saved.")
        self.signal = signal.Signals(number)
        self._on_request()
        _logger.warning(
            "%s: the rows in flight are finished and saved. Once more to stop at once.",
            self.signal.name,
        )

    def end(self, message: str) -> NoReturn:
        """Raise what the signal would have raised: `KeyboardInterrupt`, or the exit of SIGTERM."""
        message = f"{message} {self._advice}"
        if self.signal == signal.SIGTERM:
            _logger.warning(message)
            raise SystemExit(128 + signal.SIGTERM)
        raise KeyboardInterrupt(message)


@contextlib.contextmanager
def listening(interruption: Interruption) -> Iterator[None]:
    """Send SIGINT and SIGTERM to an interruption meanwhile.

    Only the main thread can: in any other, an evaluation is ended by what runs that thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    for wanted in (signal.SIGINT, signal.SIGTERM):
        listener = signal.getsignal(wanted)
        # Ctrl-C is meant for what runs, whoever listens otherwise: Spark does in every notebook on
        # Databricks. SIGTERM is meant for the process, whose end may be somebody's to arrange.
        if listener == signal.SIG_DFL or (wanted == signal.SIGINT and callable(listener)):
            interruption.listeners[wanted] = listener
            signal.signal(wanted, interruption.take)
    try:
        yield
    finally:
        for taken, listener in interruption.listeners.items():
            signal.signal(taken, listener)
