"""MLflow's judges and scorers among ours, and ours among MLflow's."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask, request
from werkzeug.serving import make_server

from langchain_dbx_eval import EvalRecord, evaluate, scorer
from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.scoring import (
    DocumentRecall,
    Outcome,
    PromptJudge,
    ScoringContext,
    as_mlflow_scorer,
    built_in_judges,
    score,
)
from langchain_dbx_eval.scoring.mlflow.traces import outcome_of_record, trace_of
from tests.scoring.documented_sets import COMPLETE_WITH_OUTPUTS
from tests.scoring.scripted_judge import ScriptedJudge, verdict

mlflow = pytest.importorskip("mlflow")

CHUNKS = COMPLETE_WITH_OUTPUTS[0]["retrieved_context"]


class OpenAiServer:
    """An OpenAI-compatible server that gives MLflow's judges one answer."""

    def __init__(self) -> None:
        self.answer: Any = {"result": "yes", "rationale": "it fits"}
        self.asked: list[str] = []
        self.app = Flask("openai")
        self.app.post("/v1/chat/completions")(self._complete)

    def _complete(self) -> Any:
        self.asked.append(str(request.get_json()["messages"]))
        text = self.answer if isinstance(self.answer, str) else json.dumps(self.answer)
        usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        head = {"id": "1", "object": "chat.completion", "created": 1, "model": "local"}
        return {**head, "choices": [choice], "usage": usage}


@pytest.fixture
def openai_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAiServer]:
    told = OpenAiServer()
    server = make_server("127.0.0.1", 0, told.app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("OPENAI_API_BASE", f"http://127.0.0.1:{server.server_port}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield told
    server.shutdown()


def test_a_model_uri_goes_to_mlflows_own_judges(
    openai_server: OpenAiServer, mlflow_store: str
) -> None:
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
    assert len(openai_server.asked) == 8
    (said,) = [a for a in result.rows[0].assessments if a.name == "correctness"]
    assert said.metadata["judge_model"] == "openai:/local"
    assert said.metadata["prompt_version"] == f"mlflow-{mlflow.__version__}"
    assert said.usage is not None
    assert said.usage.input_tokens == 7


def test_what_mlflows_judge_cannot_read_is_an_error(openai_server: OpenAiServer) -> None:
    openai_server.answer = "Well, it depends."
    row = ScoringContext(EvalRecord(request="q"), Outcome(response="a"))
    (said,) = score(row, built_in_judges("openai:/local", ["safety"])).assessments
    assert said.value is None
    assert said.error


def test_a_prompt_cannot_be_asked_of_mlflows_judges(openai_server: OpenAiServer) -> None:
    row = ScoringContext(EvalRecord(request="q"), Outcome(response="a"))
    tone = PromptJudge("tone", "{response}?", model="openai:/local")
    assert "a chat model of its own" in str(score(row, [tone]).assessments[0].error)


def test_scorers_of_mlflow_are_taken_as_they_are(
    openai_server: OpenAiServer, mlflow_store: str
) -> None:
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
    # MLflow's retrieval scorers see the row's documents, in a trace that is made for them.
    assert any(CHUNKS[0]["content"] in asked for asked in openai_server.asked)


def test_ours_score_in_mlflow_genai_evaluate(mlflow_store: str) -> None:
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
    theirs = [as_mlflow_scorer(one) for one in ours] + [as_mlflow_scorer(tone, judge=judge)]
    result = mlflow.genai.evaluate(data=data, scorers=theirs)
    assert len(result.result_df) == 2
    assert list(result.result_df["correctness/value"]) == ["no", "no"]
    assert list(result.result_df["length/value"]) == [9, 9]
    assert list(result.result_df["tone/value"]) == ["no", "no"]
    assert result.metrics["correctness/mean"] == 0.0


def test_a_prompt_without_a_model_is_refused_for_mlflow_too() -> None:
    with pytest.raises(ConfigurationError, match="has no model"):
        as_mlflow_scorer(PromptJudge("tone", "{response}?"))


def test_ours_see_the_documents_of_a_trace_in_mlflow() -> None:
    known = {"expected_retrieved_context": [{"doc_uri": "doc_uri_2_1"}]}
    row = ScoringContext(EvalRecord(request="q"), Outcome(response="a", retrieved_context=CHUNKS))
    recall = as_mlflow_scorer(DocumentRecall())
    (said,) = recall.run(inputs={"q": 1}, outputs="a", expectations=known, trace=trace_of(row))
    assert said.value == 1.0


def test_a_trace_stands_in_for_response_and_documents() -> None:
    row = ScoringContext(
        EvalRecord(request="q"), Outcome(response="the answer", retrieved_context=CHUNKS)
    )
    trace = trace_of(row)
    for form in (trace, trace.to_dict(), trace.to_json()):
        outcome = outcome_of_record(EvalRecord(request="q", trace=form))
        assert outcome.error is None
        assert outcome.response == "the answer"
        assert outcome.retrieved_context == CHUNKS
    own = EvalRecord(request="q", trace=trace, response="own", retrieved_context=[])
    assert outcome_of_record(own).response == "own"
    assert outcome_of_record(own).retrieved_context == []


@pytest.mark.parametrize("trace", ["no json", {"no": "trace"}, 5])
def test_a_trace_that_is_none_is_an_error_of_its_row(trace: Any, mlflow_store: str) -> None:
    rows = [{"request": "q", "trace": trace}, {"request": "q2", "response": "a"}]
    result = evaluate(data=rows)
    assert [bool(row.outcome.error) for row in result.rows] == [True, False]
    assert "column 'trace'" in str(result.rows[0].outcome.error).lower()
