"""Record in, assessments out.

- `answers`: what a chain gave back, as the text to score.
- `context`: the one thing that a scorer is given.
- `assessments`: what a scorer says.
- `deterministic`: scorers that compute.
- `aggregates`: assessments of many rows as the metrics of a run.
"""

from langchain_dbx_eval.scoring.assessments import Assessment
from langchain_dbx_eval.scoring.context import Outcome, Scorer, ScoringContext, score
from langchain_dbx_eval.scoring.deterministic import (
    DEFAULT_SCORERS,
    DocumentRecall,
    ExactMatch,
    TokenF1,
)

__all__ = [
    "DEFAULT_SCORERS",
    "Assessment",
    "DocumentRecall",
    "ExactMatch",
    "Outcome",
    "Scorer",
    "ScoringContext",
    "TokenF1",
    "score",
]
