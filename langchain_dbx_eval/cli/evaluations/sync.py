"""``langchain-dbx-eval sync``: write the rest of an evaluation to MLflow."""

from __future__ import annotations

import typer

from langchain_dbx_eval.cli.arguments import RunArgument, find_run
from langchain_dbx_eval.cli.output import print_text

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("sync")(sync)


def sync(run: RunArgument) -> None:
    """Write what MLflow lacks of an evaluation.

    For an evaluation that could not reach MLflow: rows, metrics and table are written to MLflow
    from the journal on this machine. Nothing is invoked or judged again: rows of a callback whose
    scorers had not finished are written without the missing scores. Repeating the command is safe.
    The destination is the MLflow store that the evaluation was configured with; if the address of
    that store contains a password, MLFLOW_TRACKING_URI is used instead.

    \b
    Examples:
      langchain-dbx-eval sync last
      langchain-dbx-eval sync 20261122-101500-1f2e3d4c
    """
    from langchain_dbx_eval.evaluation.tracking.writer import sync as sync_to_mlflow

    print_text(str(sync_to_mlflow(find_run(run))))
