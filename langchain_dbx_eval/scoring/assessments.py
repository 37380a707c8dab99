"""What a scorer says about one row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Assessment"]


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """One statement about one row.

    Attributes:
        name: The scorer's short name, such as ``document_recall``: the assessment's name on the
            MLflow trace.
        column: Its column in ``tables["eval_results"]``, such as
            ``retrieval/ground_truth/document_recall``.
        value: The score; None when there is an error.
        rationale: Why, in words.
        error: Why there is no score.
        source: Who says it, in MLflow's terms.
    """

    name: str
    column: str
    value: float | bool | str | None = None
    rationale: str | None = None
    error: str | None = None
    source: Literal["CODE", "LLM_JUDGE", "HUMAN"] = "CODE"
