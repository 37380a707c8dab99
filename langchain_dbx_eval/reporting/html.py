"""One page that stands alone: no script, no style sheet, nothing to fetch."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from langchain_dbx_eval._internal.extras import require
from langchain_dbx_eval.evaluation import EvaluationResult
from langchain_dbx_eval.reporting.comparison import Comparison
from langchain_dbx_eval.reporting.worst_rows import worst_rows
from langchain_dbx_eval.scoring.answer_text import answer_text

__all__ = ["write_report"]


def write_report(
    result: EvaluationResult, path: Path, *, comparison: Comparison | None = None
) -> Path:
    """Write an evaluation as an HTML page.

    Args:
        result: The evaluation.
        path: The file to write; its folder is made.
        comparison: What changed since a baseline, to show above the rows.

    Returns:
        The file's path.
    """
    jinja2 = require("jinja2", extra="eval")
    # Questions and answers are anybody's text: escaping keeps them from becoming markup.
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    source = (files(__package__) / "report.html.j2").read_text(encoding="utf-8")
    page = environment.from_string(source).render(
        result=result,
        rows=worst_rows(result, len(result.rows)),
        comparison=comparison,
        text=lambda value: answer_text(value) or "",
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return path
