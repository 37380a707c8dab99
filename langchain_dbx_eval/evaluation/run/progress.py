"""The progress of an evaluation: a bar in a terminal or notebook, else a line every few seconds."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

from langchain_dbx_eval._internal.imports import require
from langchain_dbx_eval._internal.limiter import AdaptiveLimiter

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["OnRow", "show_progress"]


OnRow: TypeAlias = Callable[[bool, bool], None]
"""Called with each finished row: whether it failed, and whether a scorer or judge of it failed."""

Used: TypeAlias = Callable[[], "tuple[int, float | None]"]
"""Returns the tokens that were used so far, and their cost in US dollars; None: not known."""

_LINE_INTERVAL_S = 10.0
_BAR_INTERVAL_S = 0.25


@contextmanager
def show_progress(
    total: int, done: int, *, used: Used, limiter: AdaptiveLimiter
) -> Iterator[OnRow]:
    """Show the progress on stderr: a bar in a terminal or a notebook, else lines.

    Args:
        total: Number of rows.
        done: Number of rows that are finished already.
        used: Returns the tokens and the cost.
        limiter: The limiter of the rows.

    Yields:
        The function to call with each finished row.
    """
    require("rich", extra="eval")
    import rich.console

    progress = _Progress(total, done, used, limiter)
    console = rich.console.Console(file=sys.stderr)
    # In a notebook without ipywidgets, rich shows no bar.
    has_widgets = importlib.util.find_spec("ipywidgets") is not None
    has_bar = console.is_terminal or (console.is_jupyter and has_widgets)
    with _bar(progress, console) if has_bar else _lines(progress):
        yield progress.on_row


class _Progress:
    """How far an evaluation is; read by the thread that shows it."""

    def __init__(self, total: int, done: int, used: Used, limiter: AdaptiveLimiter) -> None:
        self.total = total
        self.done = done
        self._failed = self._scorer_failures = 0
        self._used = used
        self._limiter = limiter
        self._started = time.monotonic()
        self._done_before = done

    def on_row(self, failed: bool, scorer_failed: bool) -> None:
        self.done += 1
        self._failed += failed
        self._scorer_failures += scorer_failed

    def facts(self) -> list[tuple[str, str]]:
        """Return texts with their styles, the most important one first."""
        style = "red" if self._failed else ""
        facts = [(f"{self._failed:,} failed", style)]
        if self._scorer_failures:
            # Judges are scorers too.
            facts.append((f"{self._scorer_failures:,} with scorer errors", "yellow"))
        pause = self._limiter.pause_seconds
        if pause > 0:
            limit = self._limiter.limit
            facts.append((f"429: waiting {pause:.0f} s, then {limit} at once", "yellow"))
        elif self._limiter.is_lowered:
            facts.append((f"429: {self._limiter.limit} at once", "yellow"))
        # The journal may be closed at the end of an evaluation that was interrupted.
        with contextlib.suppress(Exception):
            tokens, cost = self._used()
            facts += [(f"{tokens:,} tokens", "")] if tokens else []
            facts += [(f"${cost:,.4f}", "")] if cost is not None else []
        finished, seconds = self.done - self._done_before, time.monotonic() - self._started
        if finished and seconds > 0:
            rate = finished / seconds
            facts.append((f"{rate:.1f} rows/s" if rate >= 1 else f"{60 * rate:.1f} rows/min", ""))
            if self.done < self.total:
                facts.append((f"{_duration((self.total - self.done) / rate)} left", ""))
        return facts


@contextmanager
def _bar(progress: _Progress, console: Console) -> Iterator[None]:
    from rich.console import Group
    from rich.live import Live
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    def render() -> Group:
        count = f"{progress.done:,}/{progress.total:,}"
        line = Table.grid(padding=(0, 1))
        width = max(10, min(40, console.width - len(count) - len("Evaluating") - 3))
        line.add_row(
            "Evaluating", ProgressBar(max(1, progress.total), progress.done, width=width), count
        )
        separator = (" · ", "dim")
        parts = [part for fact in progress.facts() for part in (separator, fact)]
        return Group(line, Text.assemble("  ", *parts[1:]))

    with Live(get_renderable=render, console=console, refresh_per_second=1 / _BAR_INTERVAL_S):
        yield


@contextmanager
def _lines(progress: _Progress) -> Iterator[None]:
    """Print a line now and then, and one at the end if there was another."""
    ended = threading.Event()
    printed = False

    def print_line() -> None:
        texts = [f"{progress.done:,} of {progress.total:,} rows"]
        texts += [text for text, _ in progress.facts()]
        # The stream may be closed: the evaluation does not depend on it.
        with contextlib.suppress(OSError, ValueError):
            print(f"Evaluating: {', '.join(texts)}", file=sys.stderr, flush=True)  # noqa: T201

    def run() -> None:
        nonlocal printed
        while not ended.wait(_LINE_INTERVAL_S):
            printed = True
            print_line()

    thread = threading.Thread(target=run, name="evaluation-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        if printed:
            print_line()


def _duration(seconds: float) -> str:
    """Return ``0:24``, or ``1:02:03`` from one hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
