"""Where a completion ends: the rule for stop strings, which all engines share.

The stop string whose last character comes first ends the completion; of two that end at the same
character, the longer one does. Only the completion is searched, never the prompt.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["StopStringFilter", "truncate_at_stop"]


def truncate_at_stop(text: str, stops: Iterable[str]) -> str:
    r"""Truncate a completion before the first stop string that is complete in it.

    The text before the stop string is returned unchanged; whitespace is not stripped.

    Args:
        text: The completion, without the prompt.
        stops: Non-empty strings, compared exactly.

    Returns:
        The text before the stop string, or the whole text if it contains none.

    Examples:
        >>> truncate_at_stop("The answer is banana\nHuman: why?", ["\nHuman:"])
        'The answer is banana'
    """
    matches = [(start + len(stop), start) for stop in stops if (start := text.find(stop)) >= 0]
    return text[: min(matches)[1]] if matches else text


class StopStringFilter:
    """Incremental filter that ends a streamed completion before the first stop string.

    It withholds text that may be the beginning of a stop string.

    Args:
        stops: Non-empty strings, compared exactly.
    """

    def __init__(self, stops: Iterable[str]) -> None:
        self._stops = tuple(stops)
        self._withheld = ""
        self.stopped = False
        """Whether a stop string was complete: no further text belongs to the completion."""

    def feed(self, text: str) -> str:
        """Add the next part of the completion.

        Args:
            text: Any text, split at any character.

        Returns:
            The text that certainly belongs to the completion.
        """
        if self.stopped:
            return ""
        text = self._withheld + text
        before = truncate_at_stop(text, self._stops)
        self.stopped = len(before) < len(text)
        if self.stopped:
            self._withheld = ""
            return before
        split = len(text) - self._undecided_length(text)
        self._withheld = text[split:]
        return text[:split]

    def finish(self) -> str:
        """Return the withheld text: the completion has ended."""
        withheld, self._withheld = self._withheld, ""
        return withheld

    def _undecided_length(self, text: str) -> int:
        """Length of the longest suffix of the text that is a prefix of a stop string."""
        longest = max((len(stop) - 1 for stop in self._stops), default=0)
        for length in range(min(longest, len(text)), 0, -1):
            suffix = text[-length:]
            if any(stop.startswith(suffix) for stop in self._stops):
                return length
        return 0
