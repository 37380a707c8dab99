"""A dataset as a notebook shows it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from langchain_dbx_eval.datasets.record import EvalRecord

__all__ = ["preview_html"]

_LONGEST = 200
_COLUMNS = ("request", "response", "expected_response", "expected_facts", "guidelines")


def preview_html(facts: Mapping[str, Any], records: Iterable[EvalRecord]) -> str:
    """Facts as a list and records as a table; everything in them is escaped.

    Args:
        facts: What to say about the whole, by label; None is left out.
        records: The few records to show.

    Returns:
        HTML without scripts or styles of its own sheet.
    """
    said = "".join(
        f"<li><b>{escape(label)}</b>: {escape(str(value))}</li>"
        for label, value in facts.items()
        if value is not None
    )
    rows = [record.to_row() for record in records]
    columns = [name for name in _COLUMNS if any(name in row for row in rows)]
    head = "".join(f"<th>{name}</th>" for name in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{_cell(row.get(name))}</td>" for name in columns) + "</tr>"
        for row in rows
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if rows else ""
    return f"<div><ul>{said}</ul>{table}</div>"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return escape(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…")
