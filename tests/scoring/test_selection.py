"""Which judges run: those that apply to a row by default, or those that are configured."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.runnables import RunnableLambda

from langchain_dbx_eval import EvaluationResult, evaluate
from langchain_dbx_eval.errors import ConfigurationError, DatabricksError
from langchain_dbx_eval.evaluation import EvaluationOptions
from tests.scoring.documented_sets import (
    BARE_MINIMUM,
    BARE_MINIMUM_WITH_OUTPUTS,
    COMPLETE,
    COMPLETE_WITH_OUTPUTS,
    OUTPUT,
    QUESTION,
    DocumentedRetriever,
)
from tests.scoring.scripted_judge import ScriptedJudge, requested_judge

pytestmark = pytest.mark.usefixtures("mlflow_store")


def answer(request: str) -> str:
    DocumentedRetriever().invoke(request)
    return str(OUTPUT["response"])


def run(rows: list[dict[str, Any]], *, model: Any = None, **config: Any) -> ScriptedJudge:
    judge = ScriptedJudge()
    chosen = {"databricks-agent": config} if config else None
    judge.__dict__["result"] = evaluate(model, rows, judge=judge, evaluator_config=chosen)
    return judge


def result_of(judge: ScriptedJudge) -> EvaluationResult:
    result = judge.__dict__["result"]
    assert isinstance(result, EvaluationResult)
    return result


def selected_judges(result: EvaluationResult) -> set[str]:
    judged = {a.name for a in result.rows[0].assessments if a.source == "LLM_JUDGE"}
    return judged | {skip.name for skip in result.rows[0].scores.skipped}


WITH_GROUND_TRUTH = {"correctness", "groundedness", "safety", "context_sufficiency"}
WITHOUT = {"groundedness", "relevance_to_query", "safety", "chunk_relevance"}


@pytest.mark.parametrize(
    ("rows", "model", "selected", "skipped"),
    [
        (BARE_MINIMUM_WITH_OUTPUTS, None, WITHOUT, {"groundedness", "chunk_relevance"}),
        (COMPLETE_WITH_OUTPUTS, None, WITH_GROUND_TRUTH, set()),
        (BARE_MINIMUM, RunnableLambda(answer), WITHOUT, set()),
        (COMPLETE, RunnableLambda(answer), WITH_GROUND_TRUTH, set()),
    ],
    ids=["bare minimum, outputs", "complete, outputs", "bare minimum, model", "complete, model"],
)
def test_the_documented_sets_select_the_documented_judges(
    rows: list[dict[str, Any]], model: Any, selected: set[str], skipped: set[str]
) -> None:
    judge = run(rows, model=model)
    result = result_of(judge)
    assert result.failures == []
    assert selected_judges(result) == selected
    assert set(result.summary.skipped) == skipped
    assert set(judge.requested_judges) == selected - skipped
    if rows[0].get("expected_retrieved_context"):
        assert result.metrics["retrieval/ground_truth/document_recall/average"] == 0.5
        ratings = result.tables["eval_results"]["retrieval/ground_truth/document_ratings"][0]
        assert ratings == ["yes", "no"]


def test_a_judge_that_is_skipped_in_every_row_has_an_empty_column() -> None:
    result = result_of(run(BARE_MINIMUM_WITH_OUTPUTS))
    table = result.tables["eval_results"]
    assert table[table["response/llm_judged/groundedness/rating"] == "no"].empty
    assert "retrieval/llm_judged/chunk_relevance/precision" in table
    with pytest.raises(KeyError, match=r"groundedness/percentage \(this run has: .*safety"):
        result.metrics["response/llm_judged/groundedness/percentage"]


def test_the_ground_truth_of_each_row_selects_its_judges() -> None:
    judge = run([*COMPLETE_WITH_OUTPUTS, {"request": "q", **OUTPUT}, {"request": "q2", **OUTPUT}])
    assert judge.requested_judges.count("relevance_to_query") == 2
    assert judge.requested_judges.count("correctness") == 1
    assert result_of(judge).summary.skipped == {"groundedness": 2, "chunk_relevance": 2}


def test_configured_judges_replace_the_default_ones() -> None:
    names = ["groundedness", "relevance_to_query", "chunk_relevance", "safety"]
    assert selected_judges(result_of(run(COMPLETE_WITH_OUTPUTS, metrics=names))) == set(names)


def test_an_empty_list_disables_built_in_judges_but_not_recall() -> None:
    judge = run(COMPLETE_WITH_OUTPUTS, metrics=[])
    assert judge.requests == []
    metrics = result_of(judge).metrics
    assert metrics["retrieval/ground_truth/document_recall/average"] == 0.5
    assert "response/overall_assessment/rating/percentage" not in metrics


def test_recall_cannot_be_disabled() -> None:
    result = evaluate(data=COMPLETE_WITH_OUTPUTS, scorers=[])
    assert result.metrics["retrieval/ground_truth/document_recall/average"] == 0.5


def test_a_row_with_guidelines_is_judged_by_them() -> None:
    rows = [
        {"request": "q", "response": "a", "guidelines": ["Be kind."]},
        {"request": "q"} | OUTPUT,
    ]
    judge = run(rows)
    assert judge.requested_judges.count("guideline_adherence") == 1
    assert "guideline_adherence" not in result_of(judge).summary.skipped


def test_each_named_group_of_guidelines_is_judged() -> None:
    rows = [
        {"request": "q", "response": "a", "guidelines": {"tone": ["Kind."], "form": ["Short."]}}
    ]
    rules = {"language": ["In English."]}
    metrics = result_of(run(rows, metrics=["guideline_adherence"], global_guidelines=rules)).metrics
    for name in (
        "guideline_adherence/tone",
        "guideline_adherence/form",
        "global_guideline_adherence/language",
    ):
        assert metrics[f"response/llm_judged/{name}/rating/percentage"] == 1.0


def test_a_list_of_global_guidelines_is_one_group() -> None:
    metrics = result_of(run(BARE_MINIMUM_WITH_OUTPUTS, global_guidelines=["Be kind."])).metrics
    assert metrics["response/llm_judged/global_guideline_adherence/rating/percentage"] == 1.0


def test_a_row_that_failed_is_not_judged() -> None:
    def fail(request: Any) -> str:
        raise RuntimeError("no")

    judge = run(BARE_MINIMUM, model=fail)
    assert judge.requests == []
    assert len(result_of(judge).failures) == 1


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"databricks": {}}, r"'databricks'.*Supported: 'databricks-agent'"),
        ({"databricks-agent": {"metric": []}}, r"'metric'.*'metrics', 'global_guidelines'"),
        ({"databricks-agent": {"metrics": ["harmfulness"]}}, r"'harmfulness'.*'safety'"),
        ({"databricks-agent": {"metrics": "safety"}}, "a list of judge names, not str"),
        ({"databricks-agent": ["safety"]}, "a dict, not list"),
        ({"databricks-agent": {"global_guidelines": "Be kind."}}, "list of strings"),
        ({"databricks-agent": {"metrics": ["global_guideline_adherence"]}}, "'global_guidelines'"),
    ],
)
def test_an_invalid_configuration_is_an_error_that_shows_the_valid_one(
    config: Any, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        evaluate(data=BARE_MINIMUM_WITH_OUTPUTS, judge=ScriptedJudge(), evaluator_config=config)


@pytest.mark.parametrize(
    "options",
    [
        {"evaluator_config": {"databricks-agent": {"metrics": ["safety"]}}},
        {"evaluator_config": {"databricks-agent": {"global_guidelines": ["Be kind."]}}},
        {"options": EvaluationOptions(judge_cache="cache.db")},
    ],
)
def test_a_judge_configuration_without_a_judge_model_is_an_error(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="pass judge="):
        evaluate(data=BARE_MINIMUM_WITH_OUTPUTS, **options)


@pytest.mark.parametrize("judge", ["my-chat", 5, "endpoints:/", lambda: None])
def test_an_unsupported_judge_is_an_error_that_lists_the_supported_ones(judge: Any) -> None:
    with pytest.raises(DatabricksError, match=r"ChatDatabricks.*endpoints:/my-chat.*openai:/"):
        evaluate(data=BARE_MINIMUM_WITH_OUTPUTS, judge=judge)


def test_the_last_turn_of_a_conversation_is_judged_in_its_context() -> None:
    turns = [
        {"role": "user", "content": "What is Spark?"},
        {"role": "assistant", "content": "An engine."},
        {"role": "user", "content": QUESTION},
    ]
    for request in ({"messages": turns}, turns, {"query": QUESTION, "history": turns[:2]}):
        answers = [*turns, {"role": "assistant", "content": "The last word."}]
        rows = [{"request": request, "response": {"messages": answers}}]
        judge = run(rows, metrics=["relevance_to_query"])
        shown = str(judge.requests[0][1].content)
        assert requested_judge(judge.requests[0]) == "relevance_to_query"
        assert QUESTION in shown
        assert "The last word." in shown
        assert "An engine." in shown
