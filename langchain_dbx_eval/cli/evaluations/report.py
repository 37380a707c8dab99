"""``langchain-dbx-eval report``: write the HTML report."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from langchain_dbx_eval.cli.arguments import RunArgument, complete_runs, load_result
from langchain_dbx_eval.cli.output import error_line, print_text

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("report")(report)


def report(
    run: RunArgument,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The file to write. [default: reports/<evaluation id>.html in DBX_EVAL_HOME]",
        ),
    ] = None,
    baseline: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RUN",
            help="Compare with this evaluation; repeat the option for up to three.",
            autocompletion=complete_runs,
        ),
    ] = None,
    redact: Annotated[
        list[str] | None,
        typer.Option(
            metavar="REGEX", help="Leave out what this regular expression matches; repeatable."
        ),
    ] = None,
    log_artifact: Annotated[
        bool, typer.Option("--log-artifact", help="Also log it to the MLflow run.")
    ] = False,
    open_: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Write the HTML report of an evaluation.

    It is one file, which loads nothing from the network.

    \b
    Examples:
      langchain-dbx-eval report last --open
      langchain-dbx-eval report last --baseline 8a44e2 -o comparison.html
      langchain-dbx-eval report last --redact "[\\w.]+@[\\w.]+"
    """
    from langchain_dbx_eval._internal.paths import home
    from langchain_dbx_eval.errors import ConfigurationError
    from langchain_dbx_eval.reporting import write_report

    try:
        patterns = [re.compile(text) for text in redact or ()]
    except re.error as error:
        msg = f"--redact: {error.pattern!r} is not a regular expression: {error}."
        raise ConfigurationError(msg) from error
    result = load_result(run)
    path = output or home() / "reports" / f"{result.evaluation_id}.html"
    baselines = [load_result(reference) for reference in baseline or ()]
    write_report(result, path, baselines=baselines, redact=patterns, log_artifact=log_artifact)
    print_text(str(path))
    if open_ and typer.launch(path.absolute().as_uri()) != 0:
        error_line("No browser could be opened: open the file yourself.")
