"""``langchain-dbx-eval demo``: run the shipped demonstration."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

__all__ = ["add_to"]


class _Variant(str, Enum):
    BASELINE = "baseline"
    BETTER = "better"


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo")(demo)


def demo(
    variant: Annotated[
        _Variant, typer.Option(help="The retriever; 'better' is also compared with 'baseline'.")
    ] = _Variant.BASELINE,
) -> None:
    """Run an end-to-end demonstration on this machine.

    Without a workspace: a chain answers 48 questions through an emulated workspace and a real
    driver server. Its answers are scored and logged to MLflow. It takes about half a minute, and no
    model or key is needed.

    \b
    Examples:
      langchain-dbx-eval demo
      langchain-dbx-eval demo --variant better
    """
    from langchain_dbx_eval.demo.run import run_demo

    run_demo(variant.value)
