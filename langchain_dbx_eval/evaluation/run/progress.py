"""What a person sees while an evaluation runs: rows, failures, tokens, time left."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from langchain_dbx_eval._internal.extras import require

__all__ = ["Progress", "showing_progress"]


class Progress(Protocol):
    """Is told of each row that is done."""

    def __call__(self, *, failed: bool, tokens: int | None) -> None:
        """Count one row more."""
        ...


@contextmanager
def showing_progress(total: int, done: int) -> Iterator[Progress]:
    """Show a bar on a terminal or in a notebook; nothing where nobody looks.

    Args:
        total: How many rows there are.
        done: How many of them were done before.

    Yields:
        What is to be told of each row.
    """
    require("rich", extra="eval")
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(file=sys.stderr)
    bar = Bar(
        TextColumn("Evaluating"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failures]} failed"),
        TextColumn("{task.fields[tokens]} tokens"),
        TimeRemainingColumn(),
        console=console,
        disable=not (console.is_terminal or console.is_jupyter),
    )
    failures = tokens_so_far = 0
    with warnings.catch_warnings():
        # A notebook without ipywidgets shows no bar; rich would warn of it at every refresh.
        warnings.filterwarnings("ignore", message=".*ipywidgets.*")
        with bar:
            task = bar.add_task("rows", total=total, completed=done, failures=0, tokens=0)

            def tell(*, failed: bool, tokens: int | None) -> None:
                nonlocal failures, tokens_so_far
                failures += failed
                tokens_so_far += tokens or 0
                bar.update(task, advance=1, failures=failures, tokens=tokens_so_far)

            yield tell
