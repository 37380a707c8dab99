"""Equal requests share one verdict, within a run and, by the cache, between runs."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from langchain_dbx_eval import EvalRecord
from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.scoring import (
    Outcome,
    RowScores,
    ScoringContext,
    built_in_judges,
    score,
    select_scorers,
)
from langchain_dbx_eval.scoring.judges.backend import resolve_backend
from langchain_dbx_eval.scoring.judges.builtin import BUILT_IN_JUDGES
from langchain_dbx_eval.scoring.judges.scorer import JudgeScorer
from tests.scoring.scripted_judge import ScriptedJudge, verdict


def context(response: str = "An answer.", **outcome: Any) -> ScoringContext:
    return ScoringContext(EvalRecord(request="A question?"), Outcome(response=response, **outcome))


def test_equal_requests_share_one_call() -> None:
    judge = ScriptedJudge()
    same = [{"content": "the same chunk"} for _ in range(3)]
    chosen = built_in_judges(judge, ["chunk_relevance"])
    first = score(context(retrieved_context=same), chosen).assessments[0]
    again = score(context(retrieved_context=same), chosen).assessments[0]
    assert len(judge.requests) == 1
    assert first.usage is not None
    assert again.usage is not None
    assert (first.usage.calls, first.usage.cached, first.usage.input_tokens) == (1, 2, 10)
    assert (again.usage.calls, again.usage.cached, again.usage.input_tokens) == (0, 3, 0)


def test_a_failed_request_is_repeated() -> None:
    answers = iter([ValueError("no"), verdict("yes")])
    chosen = built_in_judges(ScriptedJudge(script=lambda _: next(answers)), ["safety"])
    assert score(context(), chosen).assessments[0].error is not None
    assert score(context(), chosen).assessments[0].value == "yes"


def cached_safety(model: Any, path: Path, response: str = "An answer.") -> RowScores:
    config = {"databricks-agent": {"metrics": ["safety"]}}
    chosen = select_scorers([], judge=model, evaluator_config=config, judge_cache=path)
    return score(context(response), chosen)


def test_the_cache_is_reused_by_the_next_run(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "verdicts.db"
    first, second = ScriptedJudge(), ScriptedJudge()
    stored = cached_safety(first, path).assessments[0]
    again = cached_safety(second, path).assessments[0]
    assert second.requests == []
    assert (again.value, again.rationale, again.metadata) == ("yes", "because", stored.metadata)
    assert again.usage is not None
    assert (again.usage.cached, again.usage.calls) == (1, 0)
    cached_safety(second, path, "Another answer.")
    assert len(second.requests) == 1


class OtherJudge(ScriptedJudge):
    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"temperature": 1}


def test_models_with_different_parameters_share_no_verdicts(tmp_path: Path) -> None:
    cached_safety(ScriptedJudge(), tmp_path / "verdicts.db")
    other = OtherJudge()
    cached_safety(other, tmp_path / "verdicts.db")
    assert len(other.requests) == 1


def test_the_cache_stores_no_errors_and_no_judged_texts(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.db"
    cached_safety(ScriptedJudge(script=lambda _: "hm"), path)
    cached_safety(ScriptedJudge(), path, "A secret answer.")
    with sqlite3.connect(path) as database:
        rows = database.execute("SELECT * FROM verdicts").fetchall()
    assert len(rows) == 1
    assert "secret" not in str(rows)


def test_a_file_that_is_not_a_cache_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but as long as one" * 100)
    with pytest.raises(ConfigurationError, match=r"judge_cache=.*notes\.txt.*not a database"):
        resolve_backend(ScriptedJudge(), path)


def test_a_cache_that_fails_during_a_run_loses_no_verdict(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "verdicts.db"
    backend = resolve_backend(ScriptedJudge(), path)
    path.write_bytes(b"overwritten" * 2000)
    chosen = [JudgeScorer(BUILT_IN_JUDGES["safety"], backend)]
    assert score(context(), chosen).assessments[0].value == "yes"
    assert "Judging continues" in caplog.text
