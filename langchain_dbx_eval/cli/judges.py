"""``langchain-dbx-eval judges``: the built-in judges, and their agreement with people."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from langchain_dbx_eval.cli.arguments import JsonOption, complete_runs, load_result
from langchain_dbx_eval.cli.output import plain, print_json, print_table, print_text

__all__ = ["add_to"]

_app = typer.Typer(no_args_is_help=True, help="The judges, and how well they agree with people.")


class _Level(str, Enum):
    NOMINAL = "nominal"
    ORDINAL = "ordinal"
    INTERVAL = "interval"


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(_app, name="judges")


@_app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """List the built-in judges, with the inputs that a row must have.

    `expected` is an expected response or expected facts. A row that lacks an input is skipped.

    \b
    Example:
      langchain-dbx-eval judges list
    """
    from langchain_dbx_eval.scoring.judges.builtin import BUILT_IN_JUDGES

    judges = [
        {
            "name": spec.name,
            "inputs": list(spec.inputs),
            "column": f"{spec.column}/{spec.leaf}",
            "version": spec.version,
            "suggested_action": spec.suggested_action,
        }
        for spec in BUILT_IN_JUDGES.values()
    ]
    if as_json:
        print_json(judges)
        return
    rows = [(j["name"], ", ".join(j["inputs"]), j["column"]) for j in judges]
    print_table(("JUDGE", "INPUTS", "COLUMN"), rows)


@_app.command("agreement")
def agreement(
    judge: Annotated[
        str,
        typer.Argument(
            metavar="JUDGE", help="A built-in judge, such as correctness.", show_default=False
        ),
    ],
    labeled: Annotated[
        str | None,
        typer.Argument(
            metavar="LABELED",
            help="Answers with labels of people: a file or a table. With --run: the labels only.",
            show_default=False,
        ),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="An evaluation that the judge rated: nothing is judged again.",
            autocompletion=complete_runs,
        ),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="Column of the labels; several are several people. [default: the judge's name]",
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The judge model. [default: DBX_EVAL_JUDGE]", metavar="URI")
    ] = None,
    repeats: Annotated[
        int, typer.Option(help="How often the judge rates each row.", metavar="N", min=1)
    ] = 1,
    cache: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A file that stores verdicts.")
    ] = None,
    level: Annotated[
        _Level | None,
        typer.Option(help="Which differences count. [default: interval for numbers, else nominal]"),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="Column whose equal values make rows depend on each other."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure how well a judge agrees with people, on answers that people have labeled.

    \b
    Examples:
      langchain-dbx-eval judges agreement correctness labels.csv --model endpoints:/my-judge
      langchain-dbx-eval judges agreement safety --run last labels.csv --label reviewer
    """
    from langchain_dbx_eval.errors import ConfigurationError
    from langchain_dbx_eval.reporting import judge_agreement

    if run is None and labeled is None:
        raise ConfigurationError("Give LABELED (a file or a table with labels), or --run RUN.")
    report = judge_agreement(
        judge,
        labeled if run is None else load_result(run),
        label=label,
        labels=None if run is None else labeled,
        model=model,
        judge_cache=cache,
        judge_repeats=repeats,
        level=level.value if level else None,
        cluster=cluster,
    )
    if not as_json:
        print_text(str(report))
        return
    estimates = {
        name: None if (value := getattr(report, name)) is None else plain(vars(value))
        for name in ("agreement", "kappa", "alpha", "human_alpha", "bias")
    }
    print_json(
        {
            "judge": report.judge,
            "level": report.level,
            "counts": report.counts,
            "reasons": report.reasons,
            **estimates,
            "disagreements": [vars(row) for row in report.disagreements],
        }
    )
