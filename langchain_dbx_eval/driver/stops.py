"""Where a completion ends: the one rule for stop strings that every engine follows."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["cut_at_stop"]


def cut_at_stop(text: str, stops: Iterable[str]) -> str:
    r"""Cut a completion before the first stop string that is completed in it.

    Reading from the left, the stop whose last character comes first wins; of two that end
    together, the one that began first. Only that text is taken away and what follows it: nothing
    is stripped from what remains.

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
