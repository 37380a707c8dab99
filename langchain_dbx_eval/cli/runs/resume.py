"""``langchain-dbx-eval resume``: run what is missing of an evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from langchain_dbx_eval.cli.arguments import JsonOption, RunArgument, find_run
from langchain_dbx_eval.cli.runs.execute import execute

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("resume")(resume)


def resume(
    run: RunArgument,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The settings. [default: those with which `run` started the evaluation]",
        ),
    ] = None,
    retry_failures: Annotated[
        bool, typer.Option("--retry-failures", help="Also invoke the rows that failed again.")
    ] = False,
    allow_changes: Annotated[
        bool,
        typer.Option(
            "--allow-changes",
            help="Although model, data or scorers changed: answers to requests that are still in "
            "the data are kept.",
        ),
    ] = False,
    max_concurrency: Annotated[
        int | None, typer.Option(metavar="N", help="Another number of rows in flight.")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(metavar="N", help="Another limit, earlier tokens included.")
    ] = None,
    max_cost: Annotated[
        float | None, typer.Option(metavar="USD", help="Another limit, earlier cost included.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run what is missing of an evaluation.

    For example after Ctrl-C, a crash, or when the budget was exhausted. Finished rows are neither
    invoked nor judged again. The settings are those of `run`, which the journal contains; variables
    such as ${NAME} are read from the present environment. The exit status is that of `run`.

    \b
    Examples:
      langchain-dbx-eval resume last
      langchain-dbx-eval resume last --retry-failures --max-concurrency 4
      langchain-dbx-eval resume 20261122-101500-1f2e3d4c --config eval.yaml
    """
    from langchain_dbx_eval.cli.runs.config import RunSettings
    from langchain_dbx_eval.errors import ConfigurationError
    from langchain_dbx_eval.evaluation.journal.store import Journal

    journal = Journal.find(find_run(run))
    changes = {
        "max_concurrency": max_concurrency,
        "max_tokens": max_tokens,
        "max_cost": max_cost,
    }
    if config is not None:
        settings = RunSettings.collect(config, changes)
    elif (stored := journal.settings) is not None:
        settings = RunSettings.model_validate(stored)
        settings.values |= {name: value for name, value in changes.items() if value is not None}
    else:
        msg = (
            f"{journal.evaluation_id} was not started by `langchain-dbx-eval run`, so its model is "
            "not known here. Pass --config FILE with its model and data, or call "
            "evaluate(…, resume=…) in the program that started it."
        )
        raise ConfigurationError(msg)
    execute(
        settings,
        resume=journal.path,
        retry_failures=retry_failures,
        allow_changes=allow_changes,
        as_json=as_json,
    )
