"""HTML for the output of a notebook cell, in Jupyter and Databricks.

It has no scripts and loads nothing. Its colors are transparent, so that it suits light and dark
themes: text has the color of the notebook.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from langchain_dbx_eval._internal.log import escape_control

__all__ = ["badge", "data", "interval_bar", "page", "table"]

_MAX_CHARS = 300

# A notebook has rules of its own for tables, such as text that is aligned to the right.
_STYLE = """
.dbxe { font: 13px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
  max-width: 1100px; overflow-x: auto; }
.dbxe p { margin: 0 0 4px !important; }
.dbxe .title { font-size: 16px; font-weight: 600; margin: 4px 0 !important; }
.dbxe .quiet { opacity: .72; font-size: 12px; }
.dbxe .bar { display: flex; gap: 2px; height: 8px; margin: 6px 0; max-width: 640px; }
.dbxe .bar span { border-radius: 3px; min-width: 4px; }
.dbxe table { border-collapse: collapse; border: 0; margin: 8px 0 !important; font-size: 13px; }
.dbxe th, .dbxe td { text-align: left !important; vertical-align: top; padding: 4px 14px 4px 0;
  border: 0; border-top: 1px solid rgba(128, 128, 128, .3); background: none; max-width: 420px;
  white-space: normal; }
.dbxe tr { background: none !important; }
.dbxe thead th { border-top: 0; font-weight: 400; font-size: 12px; opacity: .72; }
.dbxe tbody th { font-weight: 400; }
.dbxe .num { text-align: right !important; font-variant-numeric: tabular-nums;
  white-space: nowrap; }
.dbxe tbody .name { white-space: nowrap; font-size: 12px;
  font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
.dbxe .text { white-space: pre-wrap; overflow-wrap: anywhere; }
.dbxe .tag { display: inline-block; border-radius: 4px; padding: 0 7px; white-space: nowrap;
  font-size: 12px; background: rgba(128, 128, 128, .22); }
.dbxe .good { background: rgba(40, 167, 90, .30); }
.dbxe .bad { background: rgba(226, 70, 58, .32); }
.dbxe .warn { background: rgba(222, 150, 20, .34); }
.dbxe .none { background: rgba(128, 128, 128, .30); }
.dbxe .bar .good { background: rgba(40, 167, 90, .75); }
.dbxe .bar .bad { background: rgba(226, 70, 58, .75); }
.dbxe .interval { display: block; position: relative; width: 110px; height: 4px; margin-top: 9px;
  border-radius: 2px; background: rgba(128, 128, 128, .25); }
.dbxe .interval i { position: absolute; height: 4px; border-radius: 2px;
  background: rgba(74, 120, 224, .65); }
.dbxe .interval b { position: absolute; top: -3px; width: 3px; height: 10px; margin-left: -1px;
  border-radius: 1px; background: rgb(94, 138, 240); }
.dbxe details { margin: 2px 0; }
.dbxe summary { cursor: pointer; padding: 2px 0; overflow-wrap: anywhere; }
.dbxe details > table { margin: 2px 0 10px 18px !important; }
"""


def page(*parts: str) -> str:
    """Return the output of a cell, from parts of HTML."""
    style = " ".join(_STYLE.split())
    return f'<div class="dbxe"><style>{style}</style>{"".join(parts)}</div>'


def data(text: str, limit: int = _MAX_CHARS) -> str:
    """Return a text of the data as HTML: cut, escaped, and with visible control characters."""
    cut = text if len(text) <= limit else f"{text[:limit]}…"
    lines = (escape(escape_control(line)).replace("\\t", "\t") for line in cut.split("\n"))
    return f'<span class="text" dir="auto">{chr(10).join(lines)}</span>'


def badge(label: str, kind: str) -> str:
    """Return a short label; the kinds are ``good``, ``bad``, ``warn`` and ``none``."""
    return f'<span class="tag {kind}">{escape(escape_control(label))}</span>'


def interval_bar(value: float, low: float, high: float) -> str:
    """Return a value between 0 and 1 with its interval, as a bar."""
    left, right, at = (100 * min(1.0, max(0.0, x)) for x in (low, high, value))
    return (
        f'<span class="interval"><i style="left:{left:.1f}%;width:{right - left:.1f}%"></i>'
        f'<b style="left:{at:.1f}%"></b></span>'
    )


def table(titles: Sequence[str], rows: Iterable[Sequence[str]], classes: Sequence[str] = ()) -> str:
    """Return a table.

    Args:
        titles: The titles of the columns; empty: no line of titles.
        rows: HTML of the cells; the first one is the title of its line.
        classes: The class of each column, such as ``num``.
    """

    def attribute(column: int) -> str:
        name = classes[column] if column < len(classes) else ""
        return f' class="{name}"' if name else ""

    head = "".join(f"<th{attribute(n)}>{escape(title)}</th>" for n, title in enumerate(titles))
    body = "".join(
        "<tr>"
        + "".join(
            f'<th scope="row"{attribute(0)}>{cell}</th>'
            if n == 0
            else f"<td{attribute(n)}>{cell}</td>"
            for n, cell in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    thead = f"<thead><tr>{head}</tr></thead>" if head else ""
    return f"<table>{thead}<tbody>{body}</tbody></table>"
