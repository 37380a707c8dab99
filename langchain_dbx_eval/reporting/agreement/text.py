"""The report of `judge_agreement`, as text of 80 columns and as HTML."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from langchain_dbx_eval.reporting.agreement.report import JudgeAgreement
    from langchain_dbx_eval.reporting.agreement.rows import LabeledRow
    from langchain_dbx_eval.scoring.statistics import Interval

__all__ = ["agreement_html", "agreement_text", "estimate_text"]

_WIDTH = 80
_MAX_DISAGREEMENTS = 5
_MAX_REASONS = 3
_MAX_RATINGS = 7
_STATUS = {
    "error": "the judge failed",
    "skipped": "the judge gave no rating",
    "tied": "people are divided",
    "failed": "no answer",
    "invalid": "invalid rows",
    "unlabeled": "without a label",
}


class _Estimated(Protocol):
    """A value with its interval."""

    @property
    def value(self) -> float: ...
    @property
    def interval(self) -> Interval | None: ...


def estimate_text(estimate: _Estimated | None, sign: str = "") -> str:
    """Return a value with its interval, such as ``0.82 [0.74, 0.88]``.

    Args:
        estimate: The value; None or NaN: it is not defined.
        sign: ``"+"``: positive numbers have a sign.
    """
    if estimate is None or math.isnan(estimate.value):
        return "undefined"
    interval = estimate.interval
    bounds = " (no interval)"
    if interval is not None:
        bounds = f" [{interval.low:{sign}.2f}, {interval.high:{sign}.2f}]"
    return f"{estimate.value:{sign}.2f}{bounds}"


def agreement_text(report: JudgeAgreement) -> str:
    """Return the report: numbers, rows that are not compared, confusion, first disagreements."""
    lines = [*_summary(report), "", *_confusion(report)]
    found = report.disagreements
    if found:
        shown = found[:_MAX_DISAGREEMENTS]
        first = f", the first {len(shown)}" if len(shown) < len(found) else ""
        lines += ["", f"Disagreements: {len(found)}{first} (all: .disagreements)"]
        lines += [line for row in shown for line in _disagreement(row)]
    return "\n".join(line.rstrip() for line in lines)


def agreement_html(report: JudgeAgreement) -> str:
    """Return the report as HTML, with all disagreements in a table."""
    head = html.escape("\n".join([*_summary(report), "", *_confusion(report)]))
    titles = ("request", "answer", "labels", "judge", "judge's rationale")
    header = "".join(f"<th>{title}</th>" for title in titles)
    body = "".join(
        "<tr>"
        + "".join(
            f"<td>{html.escape(str(cell))}</td>"
            for cell in (row.request, row.response, _labels(row), row.rating, row.rationale or "")
        )
        + "</tr>"
        for row in report.disagreements
    )
    table = f"<table><tr>{header}</tr>{body}</table>" if body else ""
    return f"<pre>{head}</pre>{table}"


def _summary(report: JudgeAgreement) -> Iterator[str]:
    counts = report.counts
    compared, unlabeled = counts.get("compared", 0), counts.get("unlabeled", 0)
    labeled = len(report.rows) - unlabeled - counts.get("invalid", 0)
    yield _cut(f"Judge {report.judge!r} and people: {compared} of {labeled} labeled rows compared")
    yield f"  agreement             {estimate_text(report.agreement)}"
    if report.level == "nominal":
        yield f"  Cohen's kappa         {estimate_text(report.kappa)}"
    yield f"  Krippendorff's alpha  {estimate_text(report.alpha)}, {report.level}"
    if report.human_alpha is not None:
        alpha = estimate_text(report.human_alpha)
        yield f"  people, alpha         {alpha}, {report.human_alpha.n} rows with several labels"
    if report.bias is not None:
        yield f"  bias                  {estimate_text(report.bias, '+')} (judge minus people)"
    for status, count in counts.items():
        if status != "compared":
            yield f"  not compared: {count} {_STATUS[status]}"
    if report.unmatched_labels:
        yield f"  not compared: {report.unmatched_labels} labels of no row"
    reasons = report.reasons
    for reason, count in list(reasons.items())[:_MAX_REASONS]:
        yield _cut(f"    {count} x {reason}")
    if len(reasons) > _MAX_REASONS:
        yield f"    and {len(reasons) - _MAX_REASONS} more reasons (.reasons)"


def _confusion(report: JudgeAgreement) -> Iterator[str]:
    confusion = report.confusion
    ratings = list(next(iter(confusion.values()), {}))
    if not confusion:
        return
    if len(ratings) > _MAX_RATINGS:
        yield f"Confusion: {len(confusion)} different labels (.confusion)"
        return
    titles = ["none" if rating is None else f"{rating}" for rating in ratings]
    yield _row("label / judge", titles)
    for label, counts in confusion.items():
        yield _row(f"{label}", [str(counts[rating]) for rating in ratings])


def _row(title: str, cells: Sequence[str]) -> str:
    return f"{_cut(title, 16):16}" + "".join(f" {_cut(cell, 8):>8}" for cell in cells)


def _disagreement(row: LabeledRow) -> Iterator[str]:
    yield _cut(f"- label {_labels(row)}, judge {row.rating}: {row.request}")
    yield _cut(f"    answer: {row.response}")
    yield _cut(f"    judge:  {row.rationale or '(no rationale)'}")


def _labels(row: LabeledRow) -> str:
    if len(row.labels) == 1:
        return str(row.label)
    given = ", ".join(f"{person}: {label}" for person, label in row.labels.items())
    return f"{row.label} ({given})"


def _cut(text: str, width: int = _WIDTH) -> str:
    # Line breaks, but not the indentation, become single spaces.
    indent = len(text) - len(text.lstrip())
    line = " " * indent + " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"
