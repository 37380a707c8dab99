"""Which sequences take part in the next step of a batch. Does not import torch.

On a CPU, the duration of a step grows with its rows, so that a completion of a few tokens would
take as long as the many long ones in the same batch. Under this policy it takes part in every step,
and the steps are small until it is done.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["ShortFirstPolicy"]

_SHORT_FRACTION = 4
_ROWS_PER_SHORT = 4


class ShortFirstPolicy:
    """Select the rows of each step: short sequences first, the others in turn.

    A sequence is *short* if its maximum length is at most a quarter of the average of all
    sequences in flight. A step with short sequences has 4 rows for each of them, up to the maximum:
    up to half of the rows are for short ones, the others for the sequences that have waited
    longest, so that none starves.

    Args:
        max_rows: The maximum number of rows of a step.
    """

    def __init__(self, max_rows: int) -> None:
        self._max_rows = max_rows
        self._queue: dict[str, None] = {}

    def select(self, limits: Mapping[str, int]) -> tuple[list[str], int]:
        """Order the sequences for the next step.

        Args:
            limits: The maximum length in tokens of each sequence in flight, by its id.

        Returns:
            The ids in order of priority, and the number of rows of the step.
        """
        # New sequences go to the end of the queue, so that many of them do not delay the others.
        self._queue = {name: None for name in [*self._queue, *limits] if name in limits}
        waiting = list(self._queue)
        threshold = sum(limits.values()) / max(1, len(limits)) / _SHORT_FRACTION
        short = [name for name in waiting if limits[name] <= threshold]
        if not short:
            return waiting, self._max_rows
        rows = min(self._max_rows, _ROWS_PER_SHORT * len(short))
        first = short[: rows // 2]
        chosen = set(first)
        return first + [name for name in waiting if name not in chosen], rows

    def mark_scheduled(self, name: str) -> None:
        """Move a sequence to the end of the queue: it takes part in the step."""
        del self._queue[name]
        self._queue[name] = None
