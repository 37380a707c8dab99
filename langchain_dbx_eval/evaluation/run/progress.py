"""The progress bar of an evaluation."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from langchain_dbx_eval._internal.extras import require

__all__ = ["OnRow", "show_progress"]


OnRow: TypeAlias = Callable[[bool, "int | None"], None]
"""Called with each finished row: whether it failed, and the tokens of the model if known."""


@contextmanager
def show_progress(total: int, done: int) -> Iterator[OnRow]:
    """Show a progress bar in a terminal or a notebook, and nothing elsewhere.

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
    progress = bars.Progress(
        "Evaluating",
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        "{task.fields[failures]} failed",
        "{task.fields[tokens]} tokens",
        bars.TimeRemainingColumn(),
        console=console,
        disable=not (console.is_terminal or console.is_jupyter),
    )
    failure_count = token_count = 0
    with warnings.catch_warnings():
        # In a notebook without ipywidgets, rich shows no bar and warns at every refresh.
        warnings.filterwarnings("ignore", message=".*ipywidgets.*")
        with progress:
            task = progress.add_task("rows", total=total, completed=done, failures=0, tokens=0)

            def on_row(failed: bool, tokens: int | None) -> None:
                nonlocal failure_count, token_count
                failure_count += failed
                token_count += tokens or 0
                progress.update(task, advance=1, failures=failure_count, tokens=token_count)

            yield on_row
