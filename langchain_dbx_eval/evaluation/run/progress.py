"""The progress bar of an evaluation."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from langchain_dbx_eval._internal.extras import require

__all__ = ["OnRow", "show_progress"]


OnRow: TypeAlias = Callable[[bool, "int | None", bool], None]
"""Called with each finished row: whether it failed, the tokens of the model if known, and whether a
scorer had an error."""

_PLAIN_INTERVAL_S = 5.0


@contextmanager
def show_progress(total: int, done: int) -> Iterator[OnRow]:
    """Show a progress bar in a terminal or a notebook, and nothing elsewhere.

    A notebook without ipywidgets, in which rich shows nothing, gets a line of text every 5 seconds.

    Args:
        total: Number of rows.
        done: Number of rows that are finished already.

    Yields:
        The function to call with each finished row.
    """
    require("rich", extra="eval")
    import rich.console
    import rich.progress as bars

    console = rich.console.Console(file=sys.stderr)
    is_plain = console.is_jupyter and importlib.util.find_spec("ipywidgets") is None
    progress = bars.Progress(
        "Evaluating",
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        "{task.fields[counts]}",
        bars.TimeRemainingColumn(),
        console=console,
        disable=is_plain or not (console.is_terminal or console.is_jupyter),
    )
    finished, failure_count, error_count, token_count = done, 0, 0, 0
    shown_at = time.monotonic()
    with progress:
        task = progress.add_task("rows", total=total, completed=done, counts="")

        def on_row(failed: bool, tokens: int | None, has_scorer_errors: bool = False) -> None:
            nonlocal finished, failure_count, error_count, token_count, shown_at
            finished += 1
            failure_count += failed
            error_count += has_scorer_errors
            token_count += tokens or 0
            counts = f"{failure_count} failed"
            # Of a judge, for example: without it, a judge that is down would look like success.
            counts += f", {error_count} with scorer errors" if error_count else ""
            counts += f"  {token_count} tokens"
            progress.update(task, advance=1, counts=counts)
            is_due = finished == total or time.monotonic() - shown_at >= _PLAIN_INTERVAL_S
            if is_plain and is_due:
                shown_at = time.monotonic()
                print(f"Evaluating {finished}/{total}, {counts}", file=sys.stderr)  # noqa: T201

        yield on_row
