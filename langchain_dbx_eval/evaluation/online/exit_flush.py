"""The end of a process that has calls which no `EvaluationCallbackHandler.result` collected.

Their answers are saved, their scorers get some time to finish, and a warning says what is missing.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakSet

from langchain_dbx_eval._internal.daemon_threads import wait_for
from langchain_dbx_eval._internal.event_loop import start_in_thread
from langchain_dbx_eval._internal.log import get_logger
from langchain_dbx_eval.errors import JournalError
from langchain_dbx_eval.evaluation.journal.store import SCORED, Journal

__all__ = ["ExitFlush", "exit_flush"]

_logger = get_logger(__name__)
# Saving takes less than a millisecond per call, unless a `match_fn` or the disk hangs.
_SAVE_TIMEOUT_S = 10.0
_MAX_REPORTED = 5


class Queue(Protocol):
    """Calls that are not saved."""

    def save_all(self) -> None:
        """Save the queued calls, and start scoring them."""

    def __len__(self) -> int: ...


class Session(Protocol):
    """Calls that are saved."""

    exit_timeout: float

    def unscored(self) -> Iterable[Future[Any]]:
        """Return the rows whose scorers have not finished."""


class ExitFlush:
    """What the end of the process has to save, and to report.

    A queue with calls and a session with unfinished scorers are kept alive by their threads and
    tasks. Of the others only the path of the journal is kept.

    Attributes:
        queues: The queues of all handlers.
        sessions: The sessions of all handlers.
        journals: The journals whose evaluation no `result` has finished, by evaluation id.
    """

    def __init__(self) -> None:
        self.queues: WeakSet[Any] = WeakSet()
        self.sessions: WeakSet[Any] = WeakSet()
        self.journals: dict[str, Path] = {}
        self._pid = os.getpid()

    def run(self) -> None:
        """Save what is queued, wait for scorers, and log what is not in MLflow."""
        if os.getpid() != self._pid:
            return  # A forked child has no rows of its own here.
        try:
            self._wait()
        except KeyboardInterrupt:
            _logger.warning("Stopped waiting for scorers.")
        lost = sum(map(len, list(self.queues)))
        if lost:
            _logger.warning("%d calls of callbacks could not be saved before the exit.", lost)
        for evaluation_id, path in list(self.journals.items())[:_MAX_REPORTED]:
            _report(evaluation_id, path)
        if (others := len(self.journals) - _MAX_REPORTED) > 0:
            _logger.warning(
                "%d more evaluations of callbacks are not in MLflow: see langchain-dbx-eval list.",
                others,
            )

    def _wait(self) -> None:
        started = time.monotonic()
        queues = [queue for queue in list(self.queues) if len(queue)]
        # In threads: the `match_fn` of a user may hang.
        wait_for([start_in_thread(queue.save_all) for queue in queues], _SAVE_TIMEOUT_S)
        for session in list(self.sessions):
            remaining = session.exit_timeout - (time.monotonic() - started)
            wait_for(session.unscored(), max(0.0, remaining))


def _report(evaluation_id: str, path: Path) -> None:
    try:
        journal = Journal(path)
        saved, scored = journal.count(), journal.count(SCORED)
    except JournalError as error:
        _logger.warning("%s", error)
        return
    _logger.warning(
        "The process ends before handler.result() was called: of %d calls that a callback saved in "
        "%s, %d are scored, %d are not, and none is in MLflow. Write them with: "
        "langchain-dbx-eval sync %s",
        saved,
        path,
        scored,
        saved - scored,
        evaluation_id,
    )


exit_flush = ExitFlush()
# Functions of `atexit` run when Python has joined its threads and closed its executors, and cannot
# start a thread (3.12): scorers in threads would not finish. `concurrent.futures` uses this one.
getattr(threading, "_register_atexit", atexit.register)(exit_flush.run)
