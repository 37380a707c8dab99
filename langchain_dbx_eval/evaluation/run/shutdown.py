"""Ctrl-C and SIGTERM during an evaluation: the first one ends it gracefully, the second at once."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

from langchain_dbx_eval._internal.log import get_logger

__all__ = ["GracefulShutdown"]

_logger = get_logger(__name__)


class GracefulShutdown:
    """Handles SIGINT and SIGTERM while its `with` block runs.

    Python delivers signals to the main thread; in any other thread this does nothing.

    Args:
        on_request: Called at the first signal, in the main thread.
        advice: How to continue the evaluation, for the final message.

    Attributes:
        signal: The first signal; None as long as there was none.
    """

    def __init__(self, on_request: Callable[[], None], advice: str) -> None:
        self._on_request = on_request
        self._advice = advice
        self._previous_handlers: dict[int, Any] = {}
        self.signal: signal.Signals | None = None

    def __enter__(self) -> GracefulShutdown:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                previous = signal.getsignal(number)
                # Ctrl-C is for the running evaluation, even if there is a handler: Spark installs
                # one in every notebook on Databricks. SIGTERM is for the process: a program that
                # handles it keeps its handler.
                if previous == signal.SIG_DFL or (number == signal.SIGINT and callable(previous)):
                    self._previous_handlers[number] = previous
                    signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, previous in self._previous_handlers.items():
            signal.signal(number, previous)

    def end(self, message: str) -> NoReturn:
        """Raise what the signal would have raised without this handler.

        Raises:
            KeyboardInterrupt: The signal was SIGINT.
            SystemExit: The signal was SIGTERM.
        """
        message = f"{message} {self._advice}"
        if self.signal == signal.SIGTERM:
            _logger.warning(message)
            raise SystemExit(128 + signal.SIGTERM)
        raise KeyboardInterrupt(message)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            previous = self._previous_handlers.get(number)
            if callable(previous):
                # Spark's handler cancels its jobs and then raises KeyboardInterrupt.
                with contextlib.suppress(KeyboardInterrupt):
                    previous(number, frame)
            self.end("Stopped at once; finished rows are saved.")
        self.signal = signal.Signals(number)
        self._on_request()
        _logger.warning(
            "%s: the rows in flight are finished and saved. Send it again to stop at once.",
            self.signal.name,
        )
