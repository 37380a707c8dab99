"""Which judges run: as the documentation says, by what a row has, or as they are named."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda

from langchain_dbx_eval import EvaluationResult, evaluate
from langchain_dbx_eval.errors import ConfigurationError, DatabricksError
from tests.scoring.documented_sets import (
    BARE_MINIMUM,
    BARE_MINIMUM_WITH_OUTPUTS,
    COMPLETE,
    COMPLETE_WITH_OUTPUTS,
    OUTPUT,
    QUESTION,
    RETRIEVED,
)
from tests.scoring.scripted_judge import ScriptedJudge, judge_asked

pytestmark = pytest.mark.usefixtures("mlflow_store")


class Shelf(BaseRetriever):
    def _get_relevant_documents(self, query: str, **kwargs: Any) -> list[Document]:
        return [
            Document(chunk["content"], metadata={"doc_uri": chunk["doc_uri"]})
            for chunk in RETRIEVED["retrieved_context"]
        ]


def answer(request: str) -> str:
    Shelf().invoke(request)
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


def judged(result: EvaluationResult) -> set[str]:
    said = {a.name for a in result.rows[0].assessments if a.source == "LLM_JUDGE"}
    return said | {skip.name for skip in result.rows[0].scores.skipped}


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
    assert judged(result) == selected
    assert set(result.summary.skipped) == skipped
    assert set(judge.judges_asked) == selected - skipped
    if rows[0].get("expected_retrieved_context"):
        assert result.metrics["retrieval/ground_truth/document_recall/average"] == 0.5
        ratings = result.tables["eval_results"]["retrieval/ground_truth/document_ratings"][0]
        assert ratings == ["yes", "no"]


def test_a_judge_that_is_skipped_everywhere_has_its_column_all_the_same() -> None:
    result = result_of(run(BARE_MINIMUM_WITH_OUTPUTS))
    table = result.tables["eval_results"]
    assert table[table["response/llm_judged/groundedness/rating"] == "no"].empty
    assert "retrieval/llm_judged/chunk_relevance/precision" in table
    with pytest.raises(KeyError, match=r"groundedness/percentage \(this run has: .*safety"):
        result.metrics["response/llm_judged/groundedness/percentage"]


def test_each_row_is_judged_by_what_it_has() -> None:
    judge = run([*COMPLETE_WITH_OUTPUTS, {"request": "q", **OUTPUT}, {"request": "q2", **OUTPUT}])
    assert judge.judges_asked.count("relevance_to_query") == 2
    assert judge.judges_asked.count("correctness") == 1
    assert result_of(judge).summary.skipped == {"groundedness": 2, "chunk_relevance": 2}


def test_the_documented_list_runs_in_place_of_the_rule() -> None:
    names = ["groundedness", "relevance_to_query", "chunk_relevance", "safety"]
    assert judged(result_of(run(COMPLETE_WITH_OUTPUTS, metrics=names))) == set(names)


def test_an_empty_list_runs_no_built_in_judge_but_recall_stays() -> None:
    judge = run(COMPLETE_WITH_OUTPUTS, metrics=[])
    assert judge.asked == []
    metrics = result_of(judge).metrics
    assert metrics["retrieval/ground_truth/document_recall/average"] == 0.5
    assert "response/overall_assessment/rating/percentage" not in metrics


def test_recall_cannot_be_switched_off() -> None:
    result = evaluate(data=COMPLETE_WITH_OUTPUTS, scorers=[])
    assert result.metrics["retrieval/ground_truth/document_recall/average"] == 0.5


def test_guidelines_of_a_row_are_judged_where_it_has_some() -> None:
    rows = [
        {"request": "q", "response": "a", "guidelines": ["Be kind."]},
        {"request": "q"} | OUTPUT,
    ]
    judge = run(rows)
    assert judge.judges_asked.count("guideline_adherence") == 1
    assert "guideline_adherence" not in result_of(judge).summary.skipped


def test_named_guidelines_are_judged_group_by_group() -> None:
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


def test_global_guidelines_as_a_list_are_one_judge() -> None:
    metrics = result_of(run(BARE_MINIMUM_WITH_OUTPUTS, global_guidelines=["Be kind."])).metrics
    assert metrics["response/llm_judged/global_guideline_adherence/rating/percentage"] == 1.0


def test_a_row_that_failed_is_not_judged() -> None:
    def fail(request: Any) -> str:
        raise RuntimeError("no")

    judge = run(BARE_MINIMUM, model=fail)
    assert judge.asked == []
    assert len(result_of(judge).failures) == 1


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"databricks": {}}, r"'databricks'.*knows: 'databricks-agent'"),
        ({"databricks-agent": {"metric": []}}, r"'metric'.*'metrics', 'global_guidelines'"),
        ({"databricks-agent": {"metrics": ["harmfulness"]}}, r"'harmfulness'.*'safety'"),
        ({"databricks-agent": {"metrics": "safety"}}, "a list of judges' names, not str"),
        ({"databricks-agent": ["safety"]}, "a dict, not list"),
        ({"databricks-agent": {"global_guidelines": "Be kind."}}, "list of texts"),
        ({"databricks-agent": {"metrics": ["global_guideline_adherence"]}}, "'global_guidelines'"),
    ],
)
def test_what_is_not_known_is_an_error_that_lists_what_is(config: Any, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        evaluate(data=BARE_MINIMUM_WITH_OUTPUTS, judge=ScriptedJudge(), evaluator_config=config)


@pytest.mark.parametrize(
    "options",
    [
        {"evaluator_config": {"databricks-agent": {"metrics": ["safety"]}}},
        {"evaluator_config": {"databricks-agent": {"global_guidelines": ["Be kind."]}}},
        {"judge_cache": "cache.db"},
    ],
)
def test_judges_without_somebody_who_judges_are_an_error(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="give judge="):
        evaluate(data=BARE_MINIMUM_WITH_OUTPUTS, **options)


@pytest.mark.parametrize("judge", ["my-chat", 5, "endpoints:/", lambda: None])
def test_a_judge_that_cannot_judge_is_an_error_that_says_what_can(judge: Any) -> None:
    with pytest.raises(DatabricksError, match=r"ChatDatabricks.*endpoints:/my-chat.*openai:/"):
        evaluate(data=BARE_MINIMUM_WITH_OUTPUTS, judge=judge)


def test_the_last_turn_of_a_conversation_is_judged() -> None:
    turns = [
        {"role": "user", "content": "What is Spark?"},
        {"role": "assistant", "content": "An engine."},
        {"role": "user", "content": QUESTION},
    ]
    for request in ({"messages": turns}, turns, {"query": QUESTION, "history": turns[:2]}):
        answers = [*turns, {"role": "assistant", "content": "The last word."}]
        rows = [{"request": request, "response": {"messages": answers}}]
        judge = run(rows, metrics=["relevance_to_query"])
        shown = str(judge.asked[0][1].content)
        assert judge_asked(judge.asked[0]) == "relevance_to_query"
        assert QUESTION in shown
        assert "The last word." in shown
        assert "An engine." not in shown
