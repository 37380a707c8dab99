"""``langchain-dbx-eval check``: check an evaluation against conditions."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

__all__ = ["add_command"]

_DESCRIPTION = """\
Check conditions on an evaluation of this machine, for continuous integration. Nothing is
invoked or judged again."""

_EPILOG = """\
Conditions:
  "correctness >= 0.9"                  the value of a metric
  "correctness >= 90 % @ lower"         the lower bound of its 95 % interval
  "rows/failed <= 2 %"                  a share of the rows
  "latency p95 < 2 s"                   a quantile of the rows
  "correctness coverage >= 99 %"        the share of the rows that have a value
  "correctness >= baseline - 0.02 @ lower"   with --baseline: not worse by more than 0.02

Exit status:
  0  all conditions pass
  1  could not run: a metric is missing, the evaluation is incomplete, or another error
  2  invalid arguments of the command line
  3  regression: a condition does not hold
  4  inconclusive: too few rows to decide

If GITHUB_STEP_SUMMARY is set, the Markdown is also appended to that file."""


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command ``check``."""
    parser = commands.add_parser(
        "check",
        help="check conditions on an evaluation, with an exit status",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "reference",
        metavar="RUN",
        help="the MLflow run id, the evaluation id, or the path of the journal file",
    )
    parser.add_argument("conditions", metavar="CONDITION", nargs="+", help="see below")
    parser.add_argument("--baseline", metavar="RUN", help="the evaluation to compare with")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write JUnit XML")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write GitHub Markdown")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from langchain_dbx_eval.evaluation import EvaluationResult
    from langchain_dbx_eval.reporting import compare

    result = EvaluationResult.load(options.reference)
    if options.baseline is None:
        report = result.check(*options.conditions)
    else:
        baseline = EvaluationResult.load(options.baseline)
        report = compare(result, baseline).check(*options.conditions)
    if options.junit is not None:
        _write(options.junit, report.to_junit())
    if options.markdown is not None:
        _write(options.markdown, report.to_markdown())
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(report.to_markdown())
    text = report.to_json() if options.json else str(report)
    # A terminal or pipe that is not UTF-8 must not turn the verdict into an error.
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))  # noqa: T201 - a terminal
    return report.exit_code


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
