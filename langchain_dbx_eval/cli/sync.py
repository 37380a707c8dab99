"""``langchain-dbx-eval sync``: write the rest of an evaluation to MLflow."""

from __future__ import annotations

import argparse

__all__ = ["add_command"]


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command ``sync``."""
    parser = commands.add_parser(
        "sync",
        help="write the results of an evaluation that could not reach MLflow",
        description="Write an evaluation's rows, metrics and table to MLflow from its journal on "
        "this machine. Nothing is invoked or judged again: rows of a callback whose scorers had "
        "not finished are written without the missing scores. Repeating the command is safe. The "
        "destination is the MLflow store that the evaluation was configured with; if the address "
        "of that store contains a password, MLFLOW_TRACKING_URI is used instead.",
    )
    parser.add_argument(
        "reference",
        metavar="RUN",
        help="the MLflow run id, the evaluation id, or the path of the journal file",
    )
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from langchain_dbx_eval.evaluation.tracking.writer import sync

    print(sync(options.reference))  # noqa: T201 - this is a terminal
