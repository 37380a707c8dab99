"""``langchain-dbx-eval check``: check an evaluation against conditions."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from langchain_dbx_eval.cli.arguments import JsonOption, RunArgument, complete_runs, load_result
from langchain_dbx_eval.cli.output import print_text

if TYPE_CHECKING:
    from langchain_dbx_eval.evaluation import EvaluationResult
    from langchain_dbx_eval.reporting import CheckReport

__all__ = ["add_to", "append_job_summary", "check_evaluation"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("check")(check)


def check(
    run: RunArgument,
    conditions: Annotated[
        list[str],
        typer.Argument(metavar="CONDITION", help="One or more, see above.", show_default=False),
    ],
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="RUN", help="The evaluation to compare with.", autocompletion=complete_runs
        ),
    ] = None,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write JUnit XML.")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write GitHub Markdown.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check conditions on an evaluation, with an exit status.

    For continuous integration. Nothing is invoked or judged again. If GITHUB_STEP_SUMMARY is set,
    the Markdown is also appended to that file.

    \b
    Conditions (docs/gate.md):
      "correctness >= 0.9"             the value of a metric
      "correctness >= 90 % @ lower"    the lower bound of its 95 % interval
      "rows/failed <= 2 %"             a share of the rows
      "latency p95 < 2 s"              a quantile of the rows
      "correctness coverage >= 99 %"   the share of the rows that have a value
      "correctness >= baseline - 0.02 @ lower"
          with --baseline: not worse by more than 0.02

    \b
    Exit status:
      0  all conditions pass
      1  could not run: no such metric, an incomplete evaluation, another error
      2  invalid arguments of the command line
      3  regression: a condition does not hold
      4  inconclusive: too few rows to decide

    \b
    Examples:
      langchain-dbx-eval check last "exact_match >= 0.9" "rows/failed <= 2 %"
      langchain-dbx-eval check last "correctness >= baseline - 0.02" --baseline 8a44e2
    """
    report = check_evaluation(load_result(run), conditions, baseline)
    for path, to_text in ((junit, report.to_junit), (markdown, report.to_markdown)):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(to_text(), encoding="utf-8")
    append_job_summary(report)
    print_text(report.to_json() if as_json else str(report))
    raise typer.Exit(report.exit_code)


def check_evaluation(
    result: EvaluationResult, conditions: list[str], baseline: str | None
) -> CheckReport:
    """Check an evaluation, or its comparison with a baseline."""
    from langchain_dbx_eval.reporting import compare

    if baseline is None:
        return result.check(*conditions)
    return compare(result, load_result(baseline)).check(*conditions)


def append_job_summary(report: CheckReport) -> None:
    """Append a report to the summary of a job of GitHub Actions."""
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(report.to_markdown())
