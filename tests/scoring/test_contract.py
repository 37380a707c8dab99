"""All columns and metrics of Agent Evaluation have their documented names.

Sources: Databricks, "How to run an evaluation and view the results", "How quality, cost, and
latency are assessed", "Agent Evaluation input schema" (MLflow 2, databricks-agents 0.22).
"""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda

from langchain_dbx_eval import EvaluationResult, evaluate, scorer
from langchain_dbx_eval.scoring.judges.builtin import BUILT_IN_JUDGES
from tests.scoring.documented_sets import COMPLETE_WITH_OUTPUTS, QUESTION, DocumentedRetriever
from tests.scoring.scripted_judge import ScriptedJudge

COLUMNS = """
request_id
request
response
expected_response
expected_facts
expected_retrieved_context
retrieved_context
guidelines
model_error_message
response/overall_assessment/rating
response/overall_assessment/rationale
response/llm_judged/correctness/rating
response/llm_judged/correctness/rationale
response/llm_judged/correctness/error_message
response/llm_judged/groundedness/rating
response/llm_judged/groundedness/rationale
response/llm_judged/groundedness/error_message
response/llm_judged/relevance_to_query/rating
response/llm_judged/relevance_to_query/rationale
response/llm_judged/relevance_to_query/error_message
response/llm_judged/safety/rating
response/llm_judged/safety/rationale
response/llm_judged/safety/error_message
response/llm_judged/guideline_adherence/rating
response/llm_judged/guideline_adherence/rationale
response/llm_judged/guideline_adherence/error_message
response/llm_judged/global_guideline_adherence/clarity/rating
response/llm_judged/global_guideline_adherence/clarity/rationale
response/llm_judged/global_guideline_adherence/clarity/error_message
response/llm_judged/my_judge/rating
response/llm_judged/my_judge/rationale
retrieval/llm_judged/chunk_relevance/ratings
retrieval/llm_judged/chunk_relevance/rationales
retrieval/llm_judged/chunk_relevance/error_messages
retrieval/llm_judged/chunk_relevance/precision
retrieval/llm_judged/context_sufficiency/rating
retrieval/llm_judged/context_sufficiency/rationale
retrieval/llm_judged/context_sufficiency/error_message
retrieval/ground_truth/document_recall
retrieval/ground_truth/document_ratings
agent/total_token_count
agent/total_input_token_count
agent/total_output_token_count
agent/latency_seconds
metric/my_metric
"""

METRICS = """
agent/latency_seconds/average
agent/total_token_count/average
agent/total_input_token_count/average
agent/total_output_token_count/average
response/overall_assessment/rating/percentage
response/llm_judged/correctness/rating/percentage
response/llm_judged/groundedness/rating/percentage
response/llm_judged/relevance_to_query/rating/percentage
response/llm_judged/safety/rating/percentage
response/llm_judged/guideline_adherence/rating/percentage
response/llm_judged/global_guideline_adherence/clarity/rating/percentage
response/llm_judged/my_judge/rating/percentage
retrieval/llm_judged/context_sufficiency/rating/percentage
retrieval/llm_judged/chunk_relevance/precision/average
retrieval/ground_truth/document_recall/average
metric/my_metric/average
judge/correctness/error_count
judge/groundedness/error_count
judge/relevance_to_query/error_count
judge/safety/error_count
judge/guideline_adherence/error_count
judge/global_guideline_adherence/clarity/error_count
judge/chunk_relevance/error_count
judge/context_sufficiency/error_count
judge/my_judge/error_count
"""

# The documentation reads the first of these names; the others follow the same pattern.
ALIASES = """
response/llm_judged/groundedness/percentage
response/llm_judged/correctness/percentage
response/llm_judged/relevance_to_query/percentage
response/llm_judged/safety/percentage
retrieval/llm_judged/context_sufficiency/percentage
response/overall_assessment/percentage
"""


@scorer(name="my_judge", affects_verdict=True)
def is_short(response: str) -> tuple[bool, str]:
    return len(response) < 1000, f"{len(response)} characters"


@scorer(name="my_metric")
def length(response: str) -> int:
    return len(response)


@pytest.fixture
def everything(mlflow_store: str) -> EvaluationResult:
    """A run in which every judge gives a verdict for one row, and fails for another."""

    def script(messages: list[Any]) -> Any:
        fails = "A question to fail at" in str(messages[1].content)
        return "I would rather not say." if fails else '{"rationale": "r", "rating": "yes"}'

    async def answer(request: str) -> Any:
        await DocumentedRetriever().ainvoke(request)
        model = ScriptedJudge(
            script=lambda messages: AIMessage(messages[0].content, usage_metadata=usage)
        )
        return await model.ainvoke(request)

    usage = {"input_tokens": 3, "output_tokens": 1, "total_tokens": 4}
    known = {**COMPLETE_WITH_OUTPUTS[0], "guidelines": ["Be brief."], "expected_facts": ["f"]}
    rows = [
        {**known, "request_id": name, "request": f"{begin} {QUESTION}"}
        for name, begin in (("good", "Tell:"), ("bad", "A question to fail at:"))
    ]
    config = {
        "metrics": [name for name in BUILT_IN_JUDGES if "global" not in name],
        "global_guidelines": {"clarity": ["Be clear."]},
    }
    return evaluate(
        RunnableLambda(answer),
        rows,
        judge=ScriptedJudge(script=script),
        evaluator_config={"databricks-agent": config},
        scorers=[is_short, length],
    )


def test_every_documented_column_and_metric_exists(everything: EvaluationResult) -> None:
    table = everything.tables["eval_results"]
    assert [name for name in COLUMNS.split() if name not in table] == []
    assert [name for name in METRICS.split() if name not in list(everything.metrics)] == []


def test_a_judge_without_a_verdict_has_an_error_and_no_rating(everything: EvaluationResult) -> None:
    table = everything.tables["eval_results"].set_index("request_id")
    for name, spec in BUILT_IN_JUDGES.items():
        if spec.unit in ("chunk", "global_guidelines"):
            continue
        column = spec.column
        assert table.loc["good", f"{column}/rating"] == "yes"
        assert pd.isna(table.loc["bad", f"{column}/rating"])
        assert "after 2 attempts" in table.loc["bad", f"{column}/error_message"]
        assert everything.metrics[f"judge/{name}/error_count"] == 1
    chunks = "retrieval/llm_judged/chunk_relevance"
    assert table.loc["good", f"{chunks}/ratings"] == ["yes", "yes"]
    assert table.loc["bad", f"{chunks}/ratings"] == [None, None]
    assert [bool(e) for e in table.loc["bad", f"{chunks}/error_messages"]] == [True, True]


def test_metrics_are_read_by_the_aliases_of_the_documentation(everything: EvaluationResult) -> None:
    metrics = everything.metrics
    for alias in ALIASES.split():
        canonical = alias.replace("/percentage", "/rating/percentage")
        assert metrics[alias] == metrics[canonical] == metrics.get(alias)
        assert alias in metrics
        assert alias not in list(metrics)
    assert "response/llm_judged/unknown/percentage" not in metrics
    assert metrics.get("response/llm_judged/unknown/percentage", 7) == 7
    with pytest.raises(KeyError):
        metrics["response/llm_judged/unknown/percentage"]


def test_the_table_is_filtered_as_in_the_documentation(everything: EvaluationResult) -> None:
    table = everything.tables["eval_results"]
    assert table[table["response/llm_judged/groundedness/rating"] == "no"].empty


def test_the_same_metrics_are_logged_to_mlflow(everything: EvaluationResult) -> None:
    import mlflow

    logged = mlflow.get_run(everything.run_id).data.metrics
    assert logged == pytest.approx(dict(everything.metrics))
