"""``langchain-dbx-eval list``: list the evaluations on this machine."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from langchain_dbx_eval.cli.arguments import JsonOption
from langchain_dbx_eval.cli.output import console, error_line, print_json, print_table

if TYPE_CHECKING:
    from langchain_dbx_eval.evaluation import EvaluationInfo

__all__ = ["add_to"]

_TITLES = ("STARTED", "STATE", "ROWS", "FAILED", "DATASET", "EVALUATION", "MLFLOW RUN")
_WIDE = 140


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("list")(list_)


def list_(
    limit: Annotated[int, typer.Option(help="Show the newest N.", metavar="N", min=1)] = 20,
    show_all: Annotated[bool, typer.Option("--all", help="Show all.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the evaluations on this machine, the newest first.

    \b
    States:
      running      a process runs it now
      interrupted  `langchain-dbx-eval resume ID` runs what is missing
      complete     all rows are scored and in MLflow
      not synced   complete, and `langchain-dbx-eval sync ID` writes what MLflow lacks

    \b
    Examples:
      langchain-dbx-eval list
      langchain-dbx-eval list --all --json
    """
    from langchain_dbx_eval._internal.paths import journals_root
    from langchain_dbx_eval.evaluation import list_evaluations

    evaluations = list_evaluations(None if show_all else limit)
    if as_json:
        print_json([dataclasses.asdict(evaluation) for evaluation in evaluations])
        return
    terminal = console()
    # The MLflow run has no place in a narrow terminal; each id identifies the evaluation.
    is_narrow = terminal.is_terminal and terminal.width < _WIDE
    shown = len(_TITLES) - is_narrow
    rows = [_cells(one, is_narrow)[:shown] for one in evaluations]
    print_table(_TITLES[:shown], rows, whole=5)
    more = len(list(journals_root().glob("*.sqlite"))) - len(evaluations)
    if more > 0 and not show_all:
        error_line(f"{more} older: --all shows them.")
    if not evaluations:
        error_line(f"There is no evaluation in {journals_root()} yet. Start one with `run`.")


def _cells(evaluation: EvaluationInfo, is_narrow: bool) -> tuple[str, ...]:
    rows, dataset = str(evaluation.finished), evaluation.dataset or "-"
    if is_narrow and dataset.startswith("file "):
        dataset = Path(dataset).name
    return (
        evaluation.created_at.astimezone().strftime(
            "%m-%d %H:%M" if is_narrow else "%Y-%m-%d %H:%M"
        ),
        evaluation.state,
        rows if evaluation.total is None else f"{rows}/{evaluation.total}",
        str(evaluation.failed),
        dataset,
        evaluation.evaluation_id,
        evaluation.run_id or "-",
    )
