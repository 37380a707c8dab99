"""The HTML preview of a dataset in a notebook."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from langchain_dbx_eval.datasets.record import EvalRecord

__all__ = ["preview_html"]

_MAX_CHARS = 200
_COLUMNS = ("request", "response", "expected_response", "expected_facts", "guidelines")


def preview_html(properties: Mapping[str, Any], records: Iterable[EvalRecord]) -> str:
    """Render properties as a list, and records as a table.

    Args:
        properties: Values by label; None is left out.
        records: The records to show.

    Returns:
        HTML without scripts or style sheets; all values are escaped, and cut after 200 characters.
    """
    items = "".join(
        f"<li><b>{escape(label)}</b>: {escape(str(value))}</li>"
        for label, value in properties.items()
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
    return f"<div><ul>{items}</ul>{table}</div>"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return escape(text if len(text) <= _MAX_CHARS else f"{text[:_MAX_CHARS]}…")
