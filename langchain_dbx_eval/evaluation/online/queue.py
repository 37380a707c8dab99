"""The bounded queue between the threads of chains and the scorers."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Literal

from langchain_dbx_eval._internal import event_loop
from langchain_dbx_eval._internal.daemon_threads import SIGNAL_POLL_S
from langchain_dbx_eval._internal.log import get_logger
from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.evaluation.capture.spans import CapturedRun, Recording
from langchain_dbx_eval.evaluation.online.exit_flush import exit_flush

__all__ = ["OnFull", "ScoringQueue"]

OnFull = Literal["block", "drop"]
"""What happens to a call when the queue is full."""

_logger = get_logger(__name__)
# A chain's thread only appends its call here, which takes microseconds. Calls that arrive within
# this time are processed together: waking a thread for each call costs more than the rest of the
# callback. `kill -9` loses the calls of the last such moment.
_BATCH_WINDOW_S = 0.01
_BATCH = 64


class ScoringQueue:
    """Receives calls in the threads of chains; saves them, and starts scoring them, in another one.

    Args:
        score: Saves a call and starts to score it; the future that it returns is done when the call
            is scored.
        max_pending: The largest number of calls that wait or are being scored.
        on_full: Whether the thread of a further call blocks until there is space, or the call is
            dropped. A thread on which scoring itself depends never blocks: its call is queued
            beyond the limit.

    Attributes:
        dropped: Number of calls that were dropped.
        errors: Number of calls that could not be processed; each error is logged.

    Raises:
        ConfigurationError: An argument is out of range.
    """

    def __init__(
        self,
        score: Callable[[CapturedRun], Future[Any]],
        *,
        max_pending: int,
        on_full: OnFull,
    ) -> None:
        if max_pending < 1:
            msg = f"max_pending={max_pending} must be at least 1."
            raise ConfigurationError(msg)
        if on_full not in ("block", "drop"):
            msg = f"on_full={on_full!r} is not supported. Use 'block' or 'drop'."
            raise ConfigurationError(msg)
        self._score = score
        self._slots = threading.Semaphore(max_pending)
        self._on_full = on_full
        self._calls: deque[tuple[Recording, bool]] = deque()
        self._processing = threading.Lock()
        self._counters = threading.Lock()
        self._is_scheduled = False
        self.dropped = 0
        self.errors = 0
        exit_flush.queues.add(self)

    def __len__(self) -> int:
        """Number of calls that are not saved."""
        return len(self._calls)

    def put(self, call: Recording) -> None:
        """Queue a call."""
        has_slot = self._slots.acquire(blocking=False)
        if not has_slot and self._on_full == "drop":
            self._drop()
            return
        if not has_slot and not event_loop.is_own_thread():
            while not (has_slot := self._slots.acquire(timeout=SIGNAL_POLL_S)):
                pass
        self._calls.append((call, has_slot))
        with self._counters:
            must_schedule, self._is_scheduled = not self._is_scheduled, True
        if must_schedule:
            event_loop.start_in_thread(self._process_soon)

    @contextmanager
    def drained(self) -> Iterator[None]:
        """Save all queued calls, and no further one while the `with` block runs."""
        with self._processing:
            while self._calls:
                self._process_next()
            yield

    def save_all(self) -> None:
        """Save all queued calls, and start scoring them."""
        with self.drained():
            pass

    def _drop(self) -> None:
        with self._counters:
            self.dropped += 1
            first = self.dropped == 1
        if first:
            _logger.warning(
                "Calls arrive faster than they are scored, so some are not evaluated; `dropped` "
                "counts them. Lower sample_rate, raise max_pending, or set on_full='block'."
            )

    def _process_soon(self) -> None:
        time.sleep(_BATCH_WINDOW_S)
        self._is_scheduled = False
        while self._calls:
            with self._processing:
                for _ in range(min(_BATCH, len(self._calls))):
                    self._process_next()
            # Locks are not fair: another thread may wait for this one.
            time.sleep(0)

    def _process_next(self) -> None:
        call, has_slot = self._calls.popleft()
        try:
            scored = self._score(call.to_run())
        except Exception:
            self.errors += 1
            _logger.exception("A call could not be evaluated; the chain is not affected.")
            self._release(has_slot)
        else:
            scored.add_done_callback(lambda _: self._release(has_slot))

    def _release(self, has_slot: bool) -> None:
        if has_slot:
            self._slots.release()
