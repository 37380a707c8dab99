"""The HTML preview of a dataset in a notebook."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from langchain_dbx_eval._internal.notebook_html import data, page, table
from langchain_dbx_eval.datasets.record import EvalRecord

__all__ = ["preview_html"]

_MAX_CHARS = 200
_COLUMNS = ("request", "response", "expected_response", "expected_facts", "guidelines")


def preview_html(title: str, properties: Mapping[str, Any], records: Iterable[EvalRecord]) -> str:
    """Render a title, properties, and records as a table.

    Args:
        title: The title.
        properties: Values by label; None is left out.
        records: The records to show.

    Returns:
        HTML without scripts; all values are escaped, and cut.
    """
    facts = " · ".join(
        f"{escape(label)} {data(str(value))}"
        for label, value in properties.items()
        if value is not None
    )
    rows = [record.to_row() for record in records]
    columns = [name for name in _COLUMNS if any(name in row for row in rows)]
    lines = [[_cell(row.get(name)) for name in columns] for row in rows]
    return page(
        f'<p class="title">{data(title)}</p><p class="quiet">{facts}</p>',
        table(columns, lines) if rows else "",
    )


def _cell(value: Any) -> str:
    if isinstance(value, Mapping) and isinstance(messages := value.get("messages"), list):
        contents = [item.get("content") for item in messages if isinstance(item, Mapping)]
        # Of a conversation, the last message is the question.
        value = contents[-1] if contents and isinstance(contents[-1], str) else value
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        value = "\n".join(value)
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return data(text, _MAX_CHARS)
