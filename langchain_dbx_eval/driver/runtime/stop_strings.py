"""Where a completion ends: the one rule for stop strings that every engine follows.

Reading from the left, the stop whose last character comes first wins; of two that end together,
the one that began first. Only the completion is searched, never the prompt.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["StopCutter", "cut_at_stop"]


def cut_at_stop(text: str, stops: Iterable[str]) -> str:
    r"""Cut a completion before the first stop string that is completed in it.

    Only that text is taken away and what follows it: nothing is stripped from what remains.

    Args:
        text: The completion, without the prompt.
        stops: Non-empty strings, compared exactly.

    Returns:
        The text before the winning stop, or all of it where none appears.

    Examples:
        >>> cut_at_stop("The answer is banana\nHuman: why?", ["\nHuman:"])
        'The answer is banana'
    """
    matches = [(start + len(stop), start) for stop in stops if (start := text.find(stop)) >= 0]
    if not matches:
        return text
    _, start = min(matches)
    return text[:start]


class StopCutter:
    """Cuts a completion that arrives in pieces, and holds back what may become a stop string.

    Args:
        stops: Non-empty strings, compared exactly.
    """

    def __init__(self, stops: Iterable[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.stopped = False
        """Whether a stop string was completed: nothing that follows is part of the completion."""

    def feed(self, piece: str) -> str:
        """Take the next piece of the completion.

        Args:
            piece: Any text, cut anywhere.

        Returns:
            What now certainly belongs to the answer.
        """
        if self.stopped:
            return ""
        text = self._held + piece
        cut = cut_at_stop(text, self._stops)
        self.stopped = len(cut) < len(text)
        if self.stopped:
            self._held = ""
            return cut
        keep = self._undecided(text)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def finish(self) -> str:
        """Give out what was held back: the completion is over."""
        held, self._held = self._held, ""
        return held

    def _undecided(self, text: str) -> int:
        """The length of the longest end of the text that some stop begins with."""
        longest = max((len(stop) - 1 for stop in self._stops), default=0)
        for length in range(min(longest, len(text)), 0, -1):
            end = text[-length:]
            if any(stop.startswith(end) for stop in self._stops):
                return length
        return 0
