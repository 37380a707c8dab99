"""The file of a report: one HTML page with its style, scripts and compressed data."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from importlib.resources import files

from langchain_dbx_eval._version import __version__
from langchain_dbx_eval.evaluation import EvaluationResult
from langchain_dbx_eval.reporting.comparison import Comparison
from langchain_dbx_eval.reporting.html.comparison import describe_comparison, find_partners
from langchain_dbx_eval.reporting.html.model import ComparisonData, ReportData
from langchain_dbx_eval.reporting.html.redaction import Redaction, Redactor
from langchain_dbx_eval.reporting.html.run import describe_run

__all__ = ["render_report"]

_VERSION = 1
# They share one scope, and each uses those before it.
_SCRIPTS = (
    "data.js",
    "dom.js",
    "diff.js",
    "state.js",
    "ratings.js",
    "charts.js",
    "overview.js",
    "table.js",
    "request.js",
    "main.js",
)


def render_report(
    result: EvaluationResult,
    *,
    baselines: Sequence[EvaluationResult] = (),
    comparison: Comparison | None = None,
    redact: Iterable[Redaction] = (),
) -> Iterator[str]:
    """Render a report.

    Args:
        result: The evaluation.
        baselines: The evaluations beside it.
        comparison: The comparison with the baselines, or with one that is not beside it.
        redact: Texts and patterns that are left out.

    Yields:
        The parts of the page.
    """
    redactor = Redactor(redact)
    pages: list[str] = []
    runs = []
    for number, one in enumerate((result, *baselines)):
        # Bound now: the pages of this run.
        def add_page(text: str, number: int = number, first: int = len(pages)) -> None:
            pages.append(_packed(f"page-{number}-{len(pages) - first}", text))

        runs.append(describe_run(one, redactor, add_page))
    comparisons: list[ComparisonData] = []
    if comparison is not None:
        labels = [run["label"] for run in runs[1:]] or ["Baseline"]
        partners = find_partners(result, baselines)
        for number, each in enumerate((comparison, *comparison.others)):
            label = labels[number] if number < len(labels) else f"Baseline {number + 1}"
            described = describe_comparison(each, runs[0], label, redactor)
            described["partners"] = partners[number] if number < len(partners) else None
            comparisons.append(described)
    name = (result.manifest.dataset or {}).get("name")
    title = f"Evaluation of {name}" if name else "Evaluation"
    data = ReportData(
        version=_VERSION,
        title=redactor.text(title),
        generator=f"langchain-dbx-eval {__version__}",
        redacted=bool(redactor),
        runs=runs,
        comparisons=comparisons,
    )
    yield from _page(data["title"], [_packed("overview", json.dumps(data)), *pages])


def _page(title: str, data: Iterable[str]) -> Iterator[str]:
    assets = files(__package__) / "assets"
    style = (assets / "report.css").read_text(encoding="utf-8")
    sources = [(assets / name).read_text(encoding="utf-8") for name in _SCRIPTS]
    script = '(() => {\n"use strict";\n' + "\n".join(sources) + "})();\n"
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src '{_hash(script)}'",
            f"style-src '{_hash(style)}'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            # The browser refuses code that turns text into markup.
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )
    template = (assets / "report.html").read_text(encoding="utf-8")
    head, body = template.split("<!-- data -->")
    yield (
        head.replace("<!-- policy -->", escape(policy))
        .replace("/* style */", style)
        .replace("<!-- title -->", escape(title))
    )
    yield from data
    yield body.replace("/* script */", script)


def _packed(name: str, text: str) -> str:
    """Return JSON, compressed, as an element that no browser runs."""
    data = base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode()
    return f'<script type="text/plain" id="{name}">{data}</script>\n'


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
