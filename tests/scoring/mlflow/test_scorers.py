"""Scorers of MLflow in this package, and ours in MLflow."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda

from langchain_dbx_eval import EvalRecord, evaluate, scorer
from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.scoring import (
    DocumentRecall,
    Outcome,
    PromptJudge,
    ScoringContext,
    as_mlflow_scorer,
    built_in_judges,
)
from langchain_dbx_eval.scoring.mlflow.traces import trace_of
from tests.scoring.documented_sets import COMPLETE_WITH_OUTPUTS
from tests.scoring.scripted_judge import ScriptedJudge, verdict

mlflow = pytest.importorskip("mlflow")

CHUNKS = COMPLETE_WITH_OUTPUTS[0]["retrieved_context"]


def test_scorers_of_mlflow_run_unchanged(openai_server: Any, mlflow_store: str) -> None:
    from mlflow.genai.scorers import Correctness, RetrievalGroundedness
    from mlflow.genai.scorers import scorer as mlflow_scorer

    @mlflow_scorer
    def response_length(outputs: Any) -> int:
        return len(outputs)

    @mlflow_scorer
    def broken(outputs: Any) -> int:
        raise ValueError("no")

    uri = "openai:/local"
    theirs = [Correctness(model=uri), RetrievalGroundedness(model=uri), response_length, broken]
    result = evaluate(data=COMPLETE_WITH_OUTPUTS, scorers=theirs)
    assert result.metrics["correctness/value/percentage"] == 1.0
    assert result.metrics["retrieval_groundedness/value/percentage"] == 1.0
    length = len(COMPLETE_WITH_OUTPUTS[0]["response"])
    assert result.metrics["response_length/value/average"] == length
    assert result.metrics["judge/broken/error_count"] == 1
    assert result.tables["eval_results"]["correctness/rationale"][0] == "it fits"
    # MLflow's retrieval scorers read the documents from a trace that is created for them.
    assert any(CHUNKS[0]["content"] in request for request in openai_server.requests)


def test_our_scorers_run_in_mlflow_genai_evaluate(mlflow_store: str) -> None:
    @scorer
    def length(response: str) -> int:
        return len(response)

    judge = ScriptedJudge(script=lambda _: verdict("no", "not quite"))
    ours = [*built_in_judges(judge, ["correctness"]), length]
    tone = PromptJudge("tone", "Is {response} polite?")
    data = [
        {
            "inputs": {"question": f"q{n}"},
            "outputs": "an answer",
            "expectations": {"expected_response": "e"},
        }
        for n in range(2)
    ]
    converted = [as_mlflow_scorer(one) for one in ours] + [as_mlflow_scorer(tone, judge=judge)]
    result = mlflow.genai.evaluate(data=data, scorers=converted)
    assert len(result.result_df) == 2
    assert list(result.result_df["correctness/value"]) == ["no", "no"]
    assert list(result.result_df["length/value"]) == [9, 9]
    assert list(result.result_df["tone/value"]) == ["no", "no"]
    assert result.metrics["correctness/mean"] == 0.0


def test_a_prompt_judge_without_a_model_is_rejected() -> None:
    with pytest.raises(ConfigurationError, match="has no model"):
        as_mlflow_scorer(PromptJudge("tone", "{response}?"))


def test_our_scorers_read_the_documents_of_a_trace() -> None:
    known = {"expected_retrieved_context": [{"doc_uri": "doc_uri_2_1"}]}
    row = ScoringContext(EvalRecord(request="q"), Outcome(response="a", retrieved_context=CHUNKS))
    recall = as_mlflow_scorer(DocumentRecall())
    (feedback,) = recall.run(inputs={"q": 1}, outputs="a", expectations=known, trace=trace_of(row))
    assert feedback.value == 1.0


def test_custom_expectations_reach_scorers_and_mlflow(mlflow_store: str) -> None:
    from mlflow.genai import scorer as mlflow_scorer

    received = []

    @mlflow_scorer
    def theirs(expectations: Any) -> bool:
        received.append(expectations)
        return True

    @scorer
    def ours(expectations: Any) -> bool:
        received.append(expectations)
        return True

    expectations = {"expected_response": "a", "tone": "polite", "expected_tool_calls": []}
    rows = [{"inputs": {"q": 1}, "outputs": {"answer": "a"}, "expectations": expectations}]
    result = evaluate(data=rows, scorers=[theirs, ours])
    assert received == [expectations, expectations]
    (trace_id,) = result.trace_ids
    logged = mlflow.get_trace(trace_id).search_assessments(type="expectation")
    assert {one.name: one.value for one in logged} == expectations


def test_scorers_of_mlflow_receive_outputs_unchanged(mlflow_store: str) -> None:
    from mlflow.genai import scorer as mlflow_scorer

    received = []

    @mlflow_scorer
    def seen(inputs: Any, outputs: Any) -> None:
        received.append((inputs, outputs))

    messages = [{"role": "user", "content": "q"}]
    evaluate(data=[{"request": "q", "response": {"answer": "a", "sources": [1]}}], scorers=[seen])
    evaluate(RunnableLambda(lambda _: AIMessage("a")), [{"request": messages}], scorers=[seen])
    assert received == [
        ({"request": "q"}, {"answer": "a", "sources": [1]}),
        ({"messages": messages}, "a"),
    ]
