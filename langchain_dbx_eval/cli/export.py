"""``langchain-dbx-eval export``: copy the journal of an evaluation, also while it runs."""

from __future__ import annotations

import argparse

__all__ = ["add_command"]


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command ``export``."""
    parser = commands.add_parser(
        "export",
        help="copy the journal of an evaluation, also while it runs",
        description="Copy the journal of an evaluation on this machine to one file, such as one in "
        "a volume. The evaluation may be running; the copy has all rows that are saved so far. "
        "EvaluationResult.load(PATH) reads it, and evaluate(…, resume=PATH) continues it.",
    )
    parser.add_argument(
        "reference",
        metavar="RUN",
        help="the MLflow run id, the evaluation id, or the path of the journal file",
    )
    parser.add_argument(
        "--journal", required=True, metavar="PATH", help="the new file, or the folder for it"
    )
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from langchain_dbx_eval.evaluation.journal.export import export_journal

    print(export_journal(options.reference, options.journal))  # noqa: T201 - this is a terminal
