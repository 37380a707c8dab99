"""The calls that have ended and are not scored yet, bounded."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Literal

from langchain_dbx_eval._internal import event_loop
from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.evaluation.capture.recorder import CapturedRun, Recording

__all__ = ["Backlog", "OnFull"]

OnFull = Literal["block", "drop"]
"""What a chain's thread does when no further call can be held."""

_logger = logging.getLogger(__name__)
# A chain's thread only leaves its call here, which costs microseconds. What comes within this time
# is taken together: to wake the loop once a call costs more than the rest of the callback.
_GATHER_S = 0.05
_AT_ONCE = 64


class Backlog:
    """Takes calls from the threads of chains, and hands them on in the background.

    Args:
        hand_on: Begins to score a call, and returns the future that is done once it is scored.
        max_pending: How many calls may be held, waiting or being scored.
        when_full: Whether a further one waits for its place, or is dropped and counted. A thread
            that scoring itself depends on never waits; its call is held beyond the bound.

    Raises:
        ConfigurationError: An argument has none of its values.
    """

    def __init__(
        self,
        hand_on: Callable[[CapturedRun], Future[Any]],
        *,
        max_pending: int,
        on_full: OnFull,
    ) -> None:
        if max_pending < 1:
            msg = f"max_pending={max_pending} would hold no call. Give 1 or more."
            raise ConfigurationError(msg)
        if on_full not in ("block", "drop"):
            msg = f"on_full={on_full!r} is not supported. Use 'block' or 'drop'."
            raise ConfigurationError(msg)
        self._hand_on = hand_on
        self._slots = threading.Semaphore(max_pending)
        self._on_full = on_full
        self._waiting: deque[tuple[Recording, bool]] = deque()
        self._handing_on = threading.Lock()
        self._counting = threading.Lock()
        self._scheduled = False
        self.dropped = 0
        """How many calls found no place."""
        self.failures = 0
        """How many calls could not be handed on; each is logged."""

    def put(self, call: Recording) -> None:
        """Take a call."""
        has_slot = self._slots.acquire(blocking=False)
        if not has_slot and self._on_full == "drop":
            self._drop()
            return
        if not has_slot and not event_loop.is_own_thread():
            has_slot = self._slots.acquire()
        self._waiting.append((call, has_slot))
        with self._counting:
            must_schedule, self._scheduled = not self._scheduled, True
        if must_schedule:
            event_loop.start(self._drain())

    @contextmanager
    def emptied(self) -> Iterator[None]:
        """Hand on all that has been taken; until this is left, nothing more is handed on."""
        with self._handing_on:
            while self._waiting:
                self._hand_on_one()
            yield

    def _drop(self) -> None:
        with self._counting:
            self.dropped += 1
            first = self.dropped == 1
        if first:
            _logger.warning(
                "Calls come faster than they are scored, so some are not evaluated; `dropped` "
                "counts them. Sample fewer, raise `max_pending`, or wait with when_full='wait'."
            )

    async def _drain(self) -> None:
        await asyncio.sleep(_GATHER_S)
        self._scheduled = False
        while self._waiting:
            # The loop, which scores, waits for no lock that a thread may hold.
            if self._handing_on.acquire(blocking=False):
                try:
                    for _ in range(min(_AT_ONCE, len(self._waiting))):
                        self._hand_on_one()
                finally:
                    self._handing_on.release()
                await asyncio.sleep(0)
            else:
                await asyncio.sleep(_GATHER_S)

    def _hand_on_one(self) -> None:
        call, has_slot = self._waiting.popleft()
        try:
            scored = self._hand_on(call.captured())
        except Exception:
            self.failures += 1
            _logger.exception("A call could not be taken for evaluation; the chain goes on.")
            self._release(has_slot)
        else:
            scored.add_done_callback(lambda _: self._release(has_slot))

    def _release(self, has_slot: bool) -> None:
        if has_slot:
            self._slots.release()
