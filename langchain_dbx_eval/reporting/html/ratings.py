"""The ratings of a person: exported by the page of a report, imported as human assessments."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.evaluation import EvaluationResult
from langchain_dbx_eval.evaluation.journal.rows import RowKey
from langchain_dbx_eval.evaluation.journal.store import HUMAN_RATING, Journal
from langchain_dbx_eval.reporting.html.redaction import REDACTED
from langchain_dbx_eval.scoring import Assessment

__all__ = ["import_ratings"]


class _Rating(BaseModel):
    request_id: str
    number: int
    repetition: int = 1
    value: Literal["yes", "no"] | None = None
    rationale: str | None = None
    rated_at: str | None = None


class _RatingsFile(BaseModel):
    format: Literal["langchain-dbx-eval ratings"]
    version: Literal[1]
    evaluation_id: str
    ratings: list[_Rating]


def import_ratings(
    path: str | Path, result: EvaluationResult | None = None, *, rater: str = "human"
) -> EvaluationResult:
    """Add the ratings that a report exported to its evaluation, as human assessments.

    They are the column ``human/rating``, and the metric ``human/rating/percentage``. The overall
    assessment is that of the judges, as before. A second import replaces the ratings of the same
    rows. ``langchain-dbx-eval sync`` adds them to the traces in MLflow.

    Args:
        path: The exported file.
        result: The evaluation; default: the one that the file names, on this machine.
        rater: Who rated, such as an e-mail address: the source of the assessments in MLflow.

    Returns:
        The result, with the ratings.

    Raises:
        ConfigurationError: The file contains no ratings, or those of another evaluation.
        NotFoundError: This machine does not have the evaluation.
    """
    try:
        content: Any = json.loads(Path(path).read_text(encoding="utf-8"))
        file = _RatingsFile.model_validate(content)
    except (OSError, ValueError, ValidationError) as error:
        msg = f"{path} is not a file that a report exported with “Export ratings”: {error}"
        raise ConfigurationError(msg) from error
    if result is not None and result.evaluation_id != file.evaluation_id:
        msg = (
            f"{path} contains ratings of the evaluation {file.evaluation_id}, and not of "
            f"{result.evaluation_id}."
        )
        raise ConfigurationError(msg)
    journal = Journal.find(file.evaluation_id if result is None else result.journal)
    keys = {RowKey(rating.number, rating.repetition): rating for rating in file.ratings}
    rows = {row.key: row.record.request_id for row in journal.read_rows(keys)}
    for key, rating in keys.items():
        is_redacted = REDACTED in rating.request_id
        if key not in rows or (rows[key] != rating.request_id and not is_redacted):
            msg = (
                f"{path} rates the row {rating.request_id!r} (number {key.number}, repetition "
                f"{key.repetition}), which the evaluation does not have."
            )
            raise ConfigurationError(msg)
    assessments = {
        key: Assessment(
            name="human_rating",
            column=HUMAN_RATING,
            value=rating.value,
            rationale=rating.rationale or None,
            source="HUMAN",
            metadata={"rater": rater, **({"rated_at": rating.rated_at} if rating.rated_at else {})},
        )
        for key, rating in keys.items()
    }
    journal.save_ratings({key: [assessment] for key, assessment in assessments.items()})
    return EvaluationResult.load(journal.path)
