"""A check as GitHub Markdown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from langchain_dbx_eval.reporting.gate.report import printable

if TYPE_CHECKING:
    from langchain_dbx_eval.reporting.gate.report import CheckReport

__all__ = ["to_markdown"]

# GitHub's limit is 1 MiB for a job summary, and 65,536 characters for a comment.
_MAX_RECORDS = 20
_MAX_CHARACTERS = 300


def to_markdown(report: CheckReport) -> str:
    """Return a check as a table of its conditions and a folded list of its failing records.

    Args:
        report: The check. All texts of requests and answers are code, so that they contain neither
            markup nor mentions.
    """
    lines = [
        f"### Evaluation: {report.verdict}",
        "",
        f"{_code(report.name)}, run {_code(report.run_id or '-')}: {_code(report.headline)}",
        "",
        "| verdict | condition | measured |",
        "|---|---|---|",
    ]
    for checked in report.conditions:
        cells = (_code(text, in_table=True) for text in (checked.condition.text, checked.message))
        lines.append(f"| {checked.verdict} | {' | '.join(cells)} |")
    if report.records:
        lines += ["", f"<details><summary>{report.records_headline}</summary>", ""]
        for record in report.records[:_MAX_RECORDS]:
            lines.append(f"- {_code(record.name)}")
            lines += [f"  - {_code(line)}" for line in str(record).splitlines() if line.strip()]
        if (more := len(report.records) - _MAX_RECORDS) > 0:
            lines.append(f"- and {more} more")
        lines += ["", "</details>"]
    return "\n".join(lines) + "\n"


def _code(text: str, *, in_table: bool = False) -> str:
    """Return a text as a code span on one line, with a fence that it does not contain."""
    line = " ".join(printable(text).split())
    line = line if len(line) <= _MAX_CHARACTERS else f"{line[:_MAX_CHARACTERS]} …"
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    line = line.replace("|", r"\|") if in_table else line
    return f"{fence} {line} {fence}" if "`" in line else f"{fence}{line or ' '}{fence}"
