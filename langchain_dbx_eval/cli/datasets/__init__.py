"""The commands ``langchain-dbx-eval datasets …``.

Modules:
    read: ``list``, ``show`` and ``export``.
    write: ``create``, ``merge`` and ``delete``.
"""

from __future__ import annotations

import typer

from langchain_dbx_eval.cli.datasets import read, write

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="List, show, create and change datasets.")
    read.add_to(group)
    write.add_to(group)
    app.add_typer(group, name="datasets")
