"""``langchain-dbx-eval list``: list the evaluations on this machine."""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_dbx_eval.evaluation import EvaluationInfo

__all__ = ["add_command"]

_HEADER = ("STARTED", "STATE", "ROWS", "FAILED", "DATASET", "EVALUATION", "MLFLOW RUN")


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command ``list``."""
    parser = commands.add_parser(
        "list",
        help="list the evaluations on this machine with their states",
        description="List the evaluations on this machine, the newest first. Their states are: "
        "running (a process runs it now); interrupted (evaluate(…, resume=ID) runs what is "
        "missing); complete; not synced (complete, and langchain-dbx-eval sync ID writes what "
        "MLflow lacks). ID is the id of the evaluation or of its MLflow run.",
    )
    parser.add_argument(
        "--json", action="store_true", help="print a JSON list, with all that is known of each"
    )
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from langchain_dbx_eval.evaluation import list_evaluations

    evaluations = list_evaluations()
    if options.json:
        described = [dataclasses.asdict(evaluation) for evaluation in evaluations]
        for fields in described:
            fields["created_at"] = fields["created_at"].isoformat()
        print(json.dumps(described, indent=2, default=str))  # noqa: T201 - this is a terminal
        return
    lines = [_HEADER, *map(_cells, evaluations)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        print("  ".join(cells).rstrip())  # noqa: T201 - this is a terminal


def _cells(evaluation: EvaluationInfo) -> tuple[str, ...]:
    rows = str(evaluation.finished)
    return (
        evaluation.created_at.astimezone().strftime("%Y-%m-%d %H:%M"),
        evaluation.state,
        rows if evaluation.total is None else f"{rows}/{evaluation.total}",
        str(evaluation.failed),
        evaluation.dataset or "-",
        evaluation.evaluation_id,
        evaluation.run_id or "-",
    )
