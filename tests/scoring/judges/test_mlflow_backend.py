"""MLflow's own judges as judge backend."""

from __future__ import annotations

from typing import Any

import pytest

from langchain_dbx_eval import EvalRecord, evaluate
from langchain_dbx_eval.scoring import (
    Outcome,
    PromptJudge,
    ScoringContext,
    built_in_judges,
    score,
)
from tests.scoring.documented_sets import COMPLETE_WITH_OUTPUTS

mlflow = pytest.importorskip("mlflow")


def test_a_model_uri_selects_mlflows_own_judges(openai_server: Any, mlflow_store: str) -> None:
    names = ["correctness", "groundedness", "safety", "context_sufficiency", "relevance_to_query"]
    names += ["chunk_relevance", "guideline_adherence"]
    rows = [{**COMPLETE_WITH_OUTPUTS[0], "guidelines": ["Be brief."]}]
    config = {"databricks-agent": {"metrics": names}}
    result = evaluate(data=rows, judge="openai:/local", evaluator_config=config)
    assert result.summary.errors == {}
    assert result.metrics["response/overall_assessment/rating/percentage"] == 1.0
    table = result.tables["eval_results"].iloc[0]
    assert table["response/llm_judged/correctness/rationale"] == "it fits"
    assert table["retrieval/llm_judged/chunk_relevance/ratings"] == ["yes", "yes"]
    assert len(openai_server.requests) == 8
    (assessment,) = [a for a in result.rows[0].assessments if a.name == "correctness"]
    assert assessment.metadata["judge_model"] == "openai:/local"
    assert assessment.metadata["prompt_version"] == f"mlflow-{mlflow.__version__}"
    assert assessment.usage is not None
    assert assessment.usage.input_tokens == 7


def test_an_answer_that_mlflow_cannot_parse_is_an_error(openai_server: Any) -> None:
    openai_server.answer = "Well, it depends."
    row = ScoringContext(EvalRecord(request="q"), Outcome(response="a"))
    assessment, _ = score(row, built_in_judges("openai:/local", ["safety"])).assessments
    assert assessment.value is None
    assert assessment.error


def test_a_prompt_judge_has_no_counterpart_in_mlflow(openai_server: Any) -> None:
    row = ScoringContext(EvalRecord(request="q"), Outcome(response="a"))
    tone = PromptJudge("tone", "{response}?", model="openai:/local")
    assert "MLflow has no counterpart" in str(score(row, [tone]).assessments[0].error)
