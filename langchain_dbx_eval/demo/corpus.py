"""The handbook of the demonstration and the questions about it, shipped with the package."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from langchain_core.documents import Document

__all__ = ["load_corpus", "load_questions"]


def load_corpus() -> list[Document]:
    """Load the handbook, one document per file.

    Returns:
        The documents, sorted by file name. Their metadata has ``doc_uri`` (the file name) and
        ``title``.
    """
    folder = files(__package__) / "corpus"
    pages = sorted((page.name, page.read_text(encoding="utf-8")) for page in folder.iterdir())
    return [
        Document(
            page_content=text,
            metadata={"doc_uri": name, "title": text.partition("\n")[0].removeprefix("# ")},
        )
        for name, text in pages
        if name.endswith(".md")
    ]


def load_questions() -> list[dict[str, Any]]:
    """Load the questions with their expected answers and documents.

    Returns:
        One evaluation record per question with the keys ``request_id``, ``request``,
        ``expected_response`` and ``expected_retrieved_context``.
    """
    lines = (files(__package__) / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]
