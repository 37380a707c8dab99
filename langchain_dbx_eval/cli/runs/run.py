"""``langchain-dbx-eval run``: evaluate a model on a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from langchain_dbx_eval.cli.arguments import JsonOption, complete_runs
from langchain_dbx_eval.cli.runs.execute import execute

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("run")(run)


def run(
    config: Annotated[
        Path | None,
        typer.Argument(
            metavar="CONFIG",
            help="A YAML, TOML or JSON file with the same settings; `init` writes one.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="module:object (a function, a chain), endpoints:/NAME, models:/NAME/VERSION or "
            "runs:/ID/PATH. [default: score the responses in the data]",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", "-d", help="A file of records, or a table: catalog.schema.table."),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(
            help="The judge model: endpoints:/NAME, or an MLflow URI such as openai:/gpt-4.1. "
            "[default: DBX_EVAL_JUDGE; without one, no judge runs]"
        ),
    ] = None,
    scorers: Annotated[
        list[str] | None,
        typer.Option(
            "--scorer",
            help="module:object, or a shipped one such as TokenF1; repeatable. Replaces the "
            "default scorers.",
        ),
    ] = None,
    max_concurrency: Annotated[
        int | None, typer.Option(metavar="N", help="Rows in flight. [default: 32]")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Time for one row. [default: none]")
    ] = None,
    repeat: Annotated[
        int | None, typer.Option(metavar="N", help="Invocations per record. [default: 1]")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(metavar="N", help="Stop, resumably, at this many tokens.")
    ] = None,
    max_cost: Annotated[
        float | None, typer.Option(metavar="USD", help="Stop, resumably, at this cost.")
    ] = None,
    prices: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="US dollars per million tokens: a JSON or CSV file."),
    ] = None,
    check: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CONDITION",
            help='A condition such as "exact_match >= 0.9"; repeatable. See `check --help`.',
        ),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="The evaluation that conditions compare with.",
            autocompletion=complete_runs,
        ),
    ] = None,
    run_name: Annotated[str | None, typer.Option(help="Name of the MLflow run.")] = None,
    experiment_name: Annotated[str | None, typer.Option(help="The MLflow experiment.")] = None,
    report: Annotated[
        str | None, typer.Option(metavar="FILE", help="Also write the HTML report.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Evaluate a model on a dataset, and log it to MLflow.

    Settings come from CONFIG, from options, or from both: options win. Each row is saved at once:
    after Ctrl-C (rows in flight are finished) or a crash, `resume last` runs what is missing.

    \b
    Exit status:
      0    done; with conditions: all pass
      1    an error, or all rows failed; with conditions: could not run
      2    invalid arguments
      3    regression: a condition does not hold
      4    inconclusive: too few rows to decide
      130  Ctrl-C

    \b
    Examples:
      langchain-dbx-eval run eval.yaml
      langchain-dbx-eval run eval.yaml --model endpoints:/my-chat --repeat 3
      langchain-dbx-eval run -m my_model:answer -d questions.jsonl --check "exact_match >= 0.9"
    """
    from langchain_dbx_eval.cli.runs.config import RunSettings

    if config is None and data is None:
        raise typer.BadParameter("give CONFIG, or --data and --model. `init` writes a CONFIG.")
    arguments = {
        "model": model,
        "data": data,
        "judge": judge,
        "scorers": scorers,
        "max_concurrency": max_concurrency,
        "timeout": timeout,
        "repeat": repeat,
        "max_tokens": max_tokens,
        "max_cost": max_cost,
        "prices": prices,
        "check": check,
        "baseline": baseline,
        "run_name": run_name,
        "experiment_name": experiment_name,
        "report": report,
    }
    execute(RunSettings.collect(config, arguments), as_json=as_json)
