"""Whose turn it is: which of the requests in flight take part in the next step of a batch.

On a CPU a step takes the longer the more rows it has, so that a request of a few tokens beside many
long ones would be as slow as they are. Here it is in every step, and while it is there the steps
are small. Knows no model and no torch.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["Turns"]

_SHORT_BESIDE_MEAN = 4
_ROWS_PER_SHORT = 4


class Turns:
    """Chooses the rows of each step among the requests in flight.

    A request is *short* when its answer may be at most a quarter as long as the average of those in
    flight. A step with short ones has four places for each of them, if not more than it may: up to
    half are theirs, the others go to who waited longest for one, so that nobody starves.

    Args:
        rows: The most rows of a step.
    """

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._line: dict[str, None] = {}

    def next(self, limits: Mapping[str, int]) -> tuple[list[str], int]:
        """Whom the next step takes.

        Args:
            limits: The most tokens of each answer in flight, by the id of its request.

        Returns:
            The requests, in the order in which they get a place, and the number of places.
        """
        # Who is new stands at the end: a flood of new ones does not pass by those that wait.
        self._line = {name: None for name in [*self._line, *limits] if name in limits}
        waiting = list(self._line)
        bound = sum(limits.values()) / max(1, len(limits)) / _SHORT_BESIDE_MEAN
        short = [name for name in waiting if limits[name] <= bound]
        if not short:
            return waiting, self._rows
        places = min(self._rows, _ROWS_PER_SHORT * len(short))
        first = short[: places // 2]
        chosen = set(first)
        return first + [name for name in waiting if name not in chosen], places

    def took(self, name: str) -> None:
        """Note that a request is in the step: it goes to the end of the line."""
        del self._line[name]
        self._line[name] = None
