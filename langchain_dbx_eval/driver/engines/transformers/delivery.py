"""When generated text is passed to the threads of the requests. Does not import torch.

Each delivery wakes a thread, which writes the text and, after a finished completion, usually reads
the next request: 1 to 2 ms during which the generating thread waits for the GIL at each of its
calls into torch. 30 completions that finished in one step delayed a short one by 30 ms.
"""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_dbx_eval.driver.engines.transformers.sequence import TokenSequence

__all__ = ["DeliveryQueue"]

_FINISHED_S = 0.004
_PARTIAL_S = 0.002
_FRACTION = 8
_MAX_DELAY_STEPS = 16


class DeliveryQueue:
    """Deliver a few sequences after each step, finished and short ones first.

    A finished sequence is due after as many steps as it has tokens, at most 16; a partial one is
    due after 16 steps, and text that is generated meanwhile is delivered with it. So no sequence
    starves.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, TokenSequence]] = []
        self._queued_ids: set[str] = set()
        self._counter = itertools.count()
        self._step = 0

    def put(self, sequence: TokenSequence) -> None:
        """Queue a sequence with undelivered output; one that is queued keeps its position."""
        if sequence.id not in self._queued_ids:
            self._queued_ids.add(sequence.id)
            delay = len(sequence.tokens) if sequence.done else _MAX_DELAY_STEPS
            due = self._step + min(delay, _MAX_DELAY_STEPS)
            heapq.heappush(self._heap, (due, next(self._counter), sequence))

    def step(self, seconds: float) -> None:
        """Deliver an eighth of the queue, or more if the step was long enough for it.

        Args:
            seconds: The duration of the step.
        """
        self._step += 1
        minimum = -(-len(self._heap) // _FRACTION)
        while self._heap:
            _, _, sequence = self._heap[0]
            minimum -= 1
            seconds -= _FINISHED_S if sequence.done else _PARTIAL_S
            if minimum < 0 and seconds < 0:
                return
            heapq.heappop(self._heap)
            self._queued_ids.discard(sequence.id)
            sequence.notify()

    def flush(self) -> None:
        """Deliver the whole queue: there may be no further step."""
        while self._heap:
            self.step(0)
