"""Evaluations, comparisons and rows as the output of a notebook cell, and `show()`."""

from __future__ import annotations

import html
import os
import sys
import webbrowser
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from langchain_dbx_eval._internal.notebook_html import badge, data, interval_bar, page, table
from langchain_dbx_eval._internal.paths import expand_user, home
from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.evaluation import EvaluationResult
from langchain_dbx_eval.evaluation.journal.rows import Row
from langchain_dbx_eval.reporting.comparison import Comparison, Flip, MetricDifference
from langchain_dbx_eval.reporting.html.model import RatingDetail, RowDetail
from langchain_dbx_eval.reporting.html.rows import describe_row
from langchain_dbx_eval.reporting.metric_names import (
    displayed_differences,
    displayed_summaries,
    metric_kind,
    short_names,
)
from langchain_dbx_eval.reporting.overview import (
    DIFFERENCE_TITLES,
    VERDICT_TEXTS,
    comparison_title,
    difference_texts,
    find_worst,
    flipped_rows,
    headline,
    labels,
    resources,
    significant_differences,
    verdict_counts,
)
from langchain_dbx_eval.reporting.report import write_report
from langchain_dbx_eval.scoring.aggregates import MetricSummary
from langchain_dbx_eval.scoring.aggregates.repeats import number_text

__all__ = ["comparison_html", "result_html", "row_html", "show_comparison", "show_result"]

_WORST = 5
_MAX_FLIPS = 20
_MAX_TEXT = 2_000
# A notebook stores the output of its cells, and Databricks shows at most 20 MB of them.
_MAX_INLINE_BYTES = 8_000_000
_KINDS = {"error": "bad", "fail": "bad", "empty": "warn", "unknown": "warn", "pass": "good"}


def result_html(result: EvaluationResult) -> str:
    """Return an evaluation: failures first, then the metrics and the worst rows."""
    summary, worst = result.summary, find_worst(result, _WORST)
    sentence, _ = headline(result)
    facts = " · ".join(f"{html.escape(name)} {data(text)}" for name, text in labels(result))
    parts = [
        f'<p class="title">{data(sentence)}</p>',
        _verdict_bar(result),
        f'<p class="quiet">{facts}</p>',
    ]
    if used := resources(result):
        parts.append(f'<p class="quiet">Used: {html.escape(used)}</p>')
    if worst.causes:
        causes = " ".join(badge(f"{name} {n}", "none") for name, n in worst.causes.items())
        parts.append(f"<p>Root causes: {causes}</p>")
    rows = [_metric_line(metric) for metric in displayed_summaries(summary)]
    titles = ["Metric", "Value", "", "95 % interval", "Rows", "Failures as 0"]
    if not any(line[-1] for line in rows):
        titles.pop()
        rows = [line[:-1] for line in rows]
    parts.append(table(titles, rows, ("name", "num", "", "num", "num", "num")))
    parts += [f'<p class="quiet">{data(note, _MAX_TEXT)}</p>' for note in summary.notes()]
    if worst.rows:
        parts.append('<p class="title">Worst rows</p>')
        parts += [_row_details(row) for row in worst.rows]
    parts.append(
        '<p class="quiet">All rows: <code>result.show()</code> opens the report, '
        '<code>result.tables["eval_results"]</code> is a frame, <code>result.rows[0]</code> '
        "one row.</p>"
    )
    return page(*parts)


def comparison_html(comparison: Comparison) -> str:
    """Return the differences between evaluations; green and red are significant ones."""
    parts: list[str] = []
    for number, one in enumerate((comparison, *comparison.others), 1):
        displayed = displayed_differences(one.metrics)
        better, worse = significant_differences(displayed.values())
        parts += [
            f'<p class="title">{html.escape(comparison_title(one, number))}</p>',
            f"<p>Significantly {badge(f'worse {worse}', 'bad' if worse else 'none')} "
            f"{badge(f'better {better}', 'good' if better else 'none')}</p>",
            table(
                DIFFERENCE_TITLES,
                [_difference_line(metric) for metric in displayed.values()],
                ("name", *["num"] * (len(DIFFERENCE_TITLES) - 1)),
            ),
            _flips(one, short_names([metric.name for metric in one.metrics])),
        ]
    hint = "<code>comparison.show()</code> opens the report with the rows side by side."
    return page(*parts, f'<p class="quiet">{hint}</p>')


def row_html(row: Row) -> str:
    """Return a row: its texts, ratings with rationales, documents and numbers."""
    detail = describe_row(row)
    numbers = {
        "latency": None if detail["latency"] is None else f"{detail['latency']:.3g} s",
        "input tokens": detail["input_tokens"],
        "output tokens": detail["output_tokens"],
        "steps": len(detail["spans"]) or None,
        "MLflow trace": detail["trace_id"],
    }
    known = [f"{name} {data(str(n))}" for name, n in numbers.items() if n is not None]
    repetition = f", repetition {row.repetition}" if row.repetition > 1 else ""
    parts = [
        f'<p class="title">{_mark(detail)} {data(detail["id"])}{repetition}</p>',
        f'<p class="quiet">{" · ".join(known)}</p>',
        table([], _texts(detail)),
    ]
    if detail["ratings"]:
        lines = [
            [
                html.escape(rating["name"]),
                _rating(rating),
                data(rating["error"] or rating["rationale"] or ""),
            ]
            for rating in detail["ratings"]
        ]
        parts.append(table(["Score", "", "Rationale"], lines, ("name",)))
    if detail["chunks"]:
        chunks = [
            [
                data(chunk["uri"] or "(no URI)"),
                "" if chunk["expected"] is None else _expected(chunk["expected"]),
                data(chunk["content"] or ""),
            ]
            for chunk in detail["chunks"]
        ]
        summary = f"{len(chunks)} retrieved documents"
        parts.append(f"<details><summary>{summary}</summary>{table([], chunks)}</details>")
    return page(*parts)


def show_result(result: EvaluationResult, path: str | Path | None) -> Path:
    """Write the report of an evaluation, and open it."""
    return _open(write_report(result, _report_path(result, path)))


def show_comparison(comparison: Comparison, path: str | Path | None) -> Path:
    """Write the report of a comparison, and open it.

    Raises:
        ConfigurationError: The comparison has no candidate.
    """
    if comparison.result is None:
        msg = "This comparison has no candidate to show. Create it with compare()."
        raise ConfigurationError(msg)
    every = [one.baseline for one in (comparison, *comparison.others)]
    baselines = [baseline for baseline in every if baseline is not None]
    target = _report_path(comparison.result, path, "-comparison")
    return _open(
        write_report(comparison.result, target, comparison=comparison, baselines=baselines)
    )


def _report_path(result: EvaluationResult, path: str | Path | None, suffix: str = "") -> Path:
    if path is not None:
        return expand_user(path)
    return home() / "reports" / f"{result.evaluation_id}{suffix}.html"


def _open(path: Path) -> Path:
    """Show a report inline in a notebook, else in the browser; print its path."""
    path = path.absolute()
    print(f"Report: {path}")  # noqa: T201 - what the user asked for
    if _is_in_notebook():
        if path.stat().st_size <= _MAX_INLINE_BYTES:
            from IPython.display import HTML, display

            content = html.escape(path.read_text(encoding="utf-8"))
            frame = 'width="100%" height="800" style="border: 1px solid rgba(128, 128, 128, .3)"'
            frame = f'<iframe title="Report" srcdoc="{content}" {frame}></iframe>'
            display(HTML(f"<div>{frame}</div>"))  # type: ignore[no-untyped-call]
        else:
            print("It is too large for a notebook: download the file and open it.")  # noqa: T201
    elif _has_display():
        webbrowser.open(path.as_uri())
    return path


def _is_in_notebook() -> bool:
    # Loaded in each notebook. The shell of IPython in a terminal has no kernel.
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


def _has_display() -> bool:
    """Whether a browser has a window: those of a terminal would wait for the user's keys."""
    if sys.platform in ("darwin", "win32"):
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))


def _verdict_bar(result: EvaluationResult) -> str:
    rows = result.summary.rows
    judged, failing = verdict_counts(result)
    counts = {
        ("failed", "bad"): rows.failed,
        ("rejected by judges", "bad"): failing,
        ("without a verdict", "none"): max(0, rows.total - rows.failed - judged),
        ("passed", "good"): judged - failing,
    }
    parts = [(name, kind, n) for (name, kind), n in counts.items() if n]
    segments = "".join(
        f'<span class="{kind}" style="flex-grow:{n}" title="{n} {name}"></span>'
        for name, kind, n in parts
    )
    legend = " ".join(badge(f"{n} {name}", kind) for name, kind, n in parts)
    return f'<div class="bar">{segments}</div><p>{legend}</p>'


def _metric_line(metric: MetricSummary) -> list[str]:
    if metric.is_count:
        return [data(metric.name), f"{metric.value:.0f}", "", "", f"of {metric.total}", ""]
    interval, bar, bounds = metric.interval, "", ""
    if interval is not None:
        bounds = f"[{number_text(interval.low)}, {number_text(interval.high)}]"
        is_score = metric_kind(metric.name) == "score"
        if is_score and interval.low >= 0 and interval.high <= 1:
            bar = interval_bar(metric.value, interval.low, interval.high)
    zeros = metric.failures_as_zero
    return [
        data(metric.name),
        f"<b>{number_text(metric.value)}</b>",
        bar,
        bounds,
        badge(metric.coverage, "warn")
        if metric.n < metric.total
        else f"{metric.n} of {metric.total}",
        "" if zeros in (None, metric.value) else number_text(zeros or 0.0),
    ]


def _difference_line(metric: MetricDifference) -> list[str]:
    before, after, difference, interval, p_value, pairs = difference_texts(metric)
    kind = {True: "good", False: "bad", None: None}[metric.is_better]
    return [
        data(metric.name),
        before,
        after,
        badge(difference, kind) if kind else difference,
        interval,
        html.escape(p_value),
        pairs,
    ]


def _flips(comparison: Comparison, short: Mapping[str, str]) -> str:
    rows = flipped_rows(comparison.flips)
    if not rows:
        return '<p class="quiet">No row changed between pass and fail.</p>'
    counts = Counter(passed for passed, _, _ in rows)
    lines = [
        [
            badge("✕ → ✓", "good") if passed else badge("✓ → ✕", "bad"),
            data(row_id.request_id)
            + (f", repetition {row_id.repetition}" if row_id.repetition > 1 else ""),
            _flip_cause(flips[0]),
            data(", ".join(short[flip.metric] for flip in flips)),
        ]
        for passed, row_id, flips in rows[:_MAX_FLIPS]
    ]
    more = len(rows) - len(lines)
    rest = f'<p class="quiet">{more} more: <code>comparison.flips</code></p>' if more else ""
    return (
        "<details open><summary>Rows that changed between pass and fail: "
        f"{counts[False]} worse, {counts[True]} better</summary>"
        f"{table(['', 'Row', 'Root cause', 'Scores'], lines)}{rest}</details>"
    )


def _flip_cause(flip: Flip) -> str:
    cause = flip.root_cause_before if flip.passed else flip.root_cause_after
    return "" if cause is None else f"{'was' if flip.passed else 'now'}: {data(cause, 120)}"


def _mark(detail: RowDetail) -> str:
    mark, _, text = VERDICT_TEXTS[detail["verdict"]]
    return badge(f"{mark} {text}", _KINDS.get(detail["verdict"], "none"))


def _row_details(row: Row) -> str:
    detail = describe_row(row)
    cause = f" · root cause {data(detail['cause'])}" if detail["cause"] else ""
    summary = f"{_mark(detail)} {data(detail['question'], 120)}{cause}"
    lines = [["Row", data(detail["id"])], *_texts(detail)]
    return f"<details><summary>{summary}</summary>{table([], lines)}</details>"


def _texts(detail: RowDetail) -> Iterator[Sequence[str]]:
    """Yield the texts of a row, each with its name."""
    yield "Request", data(detail["question"], _MAX_TEXT)
    if detail["error"] is not None:
        yield "Error", data(detail["error"], _MAX_TEXT)
    else:
        yield "Answer", data(detail["answer"] or "(empty)", _MAX_TEXT)
    if detail["expected"]:
        yield "Expected", data(detail["expected"], _MAX_TEXT)
    if facts := detail["expectations"].get("expected_facts"):
        yield "Expected facts", data("\n".join(map(str, facts)), _MAX_TEXT)
    if detail["cause"]:
        because = f"{detail['cause']}: {detail['cause_rationale'] or ''}"
        yield "Root cause", data(because, _MAX_TEXT)


def _rating(rating: RatingDetail) -> str:
    value = rating["value"]
    if rating["error"] is not None and value is None:
        return badge("error", "warn")
    if value in ("yes", True):
        return badge(str(value).lower(), "good")
    if value in ("no", False) and not isinstance(value, float):
        return badge(str(value).lower(), "bad")
    return number_text(value) if isinstance(value, float | int) else data(str(value))


def _expected(is_expected: bool) -> str:
    return badge("expected", "good") if is_expected else badge("not expected", "none")
