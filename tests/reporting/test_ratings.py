"""The ratings of a person, from the file that a report exports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlflow
import pytest

from langchain_dbx_eval import EvaluationResult, errors, evaluate
from langchain_dbx_eval.evaluation.tracking.writer import sync
from langchain_dbx_eval.reporting import import_ratings

pytestmark = pytest.mark.usefixtures("mlflow_store")
RATING = "human/rating"


@pytest.fixture
def result() -> EvaluationResult:
    rows = [{"request_id": name, "request": f"{name}?", "response": "x"} for name in "ab"]
    return evaluate(data=rows, evaluator_config={"databricks-agent": {"metrics": []}})


def export(path: Path, result: EvaluationResult, *ratings: dict[str, Any], **changes: Any) -> Path:
    content = {
        "format": "langchain-dbx-eval ratings",
        "version": 1,
        "evaluation_id": result.evaluation_id,
        "run_id": result.run_id,
        "ratings": ratings,
        **changes,
    }
    file = path / "ratings.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


def rating(name: str, number: int, value: str | None, rationale: str = "") -> dict[str, Any]:
    return {
        "request_id": name,
        "number": number,
        "repetition": 1,
        "value": value,
        "rationale": rationale,
        "rated_at": "2026-01-01T00:00:00Z",
    }


def test_ratings_become_assessments_and_a_metric(tmp_path: Path, result: EvaluationResult) -> None:
    file = export(tmp_path, result, rating("a", 0, "yes"), rating("b", 1, "no", "Too short."))
    rated = import_ratings(file)
    table = rated.tables["eval_results"]
    assert list(table[RATING]) == ["yes", "no"]
    assert table[f"{RATING}/rationale"][1] == "Too short."
    assert rated.metrics[f"{RATING}/percentage"] == 0.5
    again = import_ratings(export(tmp_path, result, rating("b", 1, "yes")), result)
    assert again.metrics[f"{RATING}/percentage"] == 1.0


def test_ratings_reach_the_trace_with_their_rater(tmp_path: Path, result: EvaluationResult) -> None:
    import_ratings(export(tmp_path, result, rating("a", 0, "no", "Wrong.")), rater="me@example.com")
    synced = sync(result.evaluation_id)
    trace = mlflow.get_trace(synced.trace_ids[0])
    [feedback] = [a for a in trace.info.assessments if a.name == "human_rating"]
    assert (feedback.value, feedback.rationale) == ("no", "Wrong.")
    assert (feedback.source.source_type, feedback.source.source_id) == ("HUMAN", "me@example.com")


def test_an_evaluation_with_ratings_can_be_resumed(tmp_path: Path) -> None:
    rows = [{"request_id": "a", "request": "a?"}]
    config: Any = {"databricks-agent": {"metrics": []}}
    result = evaluate(str, rows, evaluator_config=config)
    import_ratings(export(tmp_path, result, rating("a", 0, "yes")))
    resumed = evaluate(str, rows, evaluator_config=config, resume=result.run_id)
    assert resumed.metrics[f"{RATING}/percentage"] == 1.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "something"}, "is not a file that a report exported"),
        ({"version": 2}, "is not a file that a report exported"),
        ({"ratings": [rating("a", 7, "yes")]}, "rates the row 'a' .number 7"),
        ({"ratings": [rating("other", 0, "yes")]}, "rates the row 'other'"),
        ({"ratings": [rating("a", 0, "maybe")]}, "is not a file that a report exported"),
        ({"evaluation_id": "another"}, "ratings of the evaluation another"),
    ],
)
def test_a_file_that_does_not_fit_is_an_error(
    tmp_path: Path, result: EvaluationResult, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(errors.ConfigurationError, match=message):
        import_ratings(export(tmp_path, result, **changes), result)
    assert RATING not in result.tables["eval_results"]
