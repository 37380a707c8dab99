"""When the answers of a batch are handed over to the threads that wait for them.

Each handing over wakes a thread, which writes what it is given and, of an answer that is over, most
often reads the next request: 1 to 2 ms in which the thread that generates waits for CPython's
interpreter, at each of its calls into torch. Thirty answers that end in one step held a short one
up by 30 ms. Knows no model and no torch.
"""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_dbx_eval.driver.engines.transformers.sequence import Completion

__all__ = ["Outbox"]

_END_S = 0.004
_PIECE_S = 0.002
_PART = 8
_PATIENCE_STEPS = 16


class Outbox:
    """Hands over a few answers after each step, those first that are over, and short.

    An answer that is over is due as many steps after it is put in as it has tokens, if these are
    not more than 16; a part of one is due after 16 steps, and what comes meanwhile goes with it.
    So none is passed by for long.
    """

    def __init__(self) -> None:
        self._line: list[tuple[int, int, Completion]] = []
        self._inside: set[str] = set()
        self._number = itertools.count()
        self._step = 0

    def put(self, completion: Completion) -> None:
        """Take an answer that has something to hand over; one that is inside stays where it is."""
        if completion.id not in self._inside:
            self._inside.add(completion.id)
            steps = len(completion.tokens) if completion.done else _PATIENCE_STEPS
            due = self._step + min(steps, _PATIENCE_STEPS)
            heapq.heappush(self._line, (due, next(self._number), completion))

    def step(self, seconds: float) -> None:
        """Hand over an eighth of what is inside, or more where the step was long enough for it.

        Args:
            seconds: How long the step took.
        """
        self._step += 1
        least = -(-len(self._line) // _PART)
        while self._line:
            _, _, completion = self._line[0]
            least -= 1
            seconds -= _END_S if completion.done else _PIECE_S
            if least < 0 and seconds < 0:
                return
            heapq.heappop(self._line)
            self._inside.discard(completion.id)
            completion.hand_over()

    def empty(self) -> None:
        """Hand over all that is inside: there may be no further step."""
        while self._line:
            self.step(0)
