"""Outcomes from MLflow traces."""

from __future__ import annotations

from typing import Any

import pytest

from langchain_dbx_eval import EvalRecord, EvaluationCallbackHandler, evaluate, scorer
from langchain_dbx_eval.scoring import Outcome, ScoringContext
from langchain_dbx_eval.scoring.mlflow.traces import outcome_of_record, trace_of
from tests.scoring.documented_sets import COMPLETE_WITH_OUTPUTS

pytest.importorskip("mlflow")

CHUNKS = COMPLETE_WITH_OUTPUTS[0]["retrieved_context"]


def test_a_trace_provides_response_and_documents() -> None:
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
def test_an_invalid_trace_is_an_error_of_its_row(trace: Any, mlflow_store: str) -> None:
    rows = [{"request": "q", "trace": trace}, {"request": "q2", "response": "a"}]
    result = evaluate(data=rows)
    assert [bool(row.outcome.error) for row in result.rows] == [True, False]
    assert "column 'trace'" in str(result.rows[0].outcome.error).lower()


@pytest.mark.parametrize("key", ["uri", "source", "url"])
def test_the_uri_of_a_document_is_read_from_any_common_metadata_key(key: str) -> None:
    row = ScoringContext(
        EvalRecord(request="q"), Outcome(response="the answer", retrieved_context=CHUNKS)
    )
    trace = trace_of(row).to_json().replace('doc_uri\\"', f'{key}\\"')
    assert trace.count(f'{key}\\"') == len(CHUNKS)
    outcome = outcome_of_record(EvalRecord(request="q", trace=trace))
    assert outcome.retrieved_context == CHUNKS


def test_a_chat_model_with_tools_is_matched_by_its_messages_and_its_trace_has_the_tools(
    mlflow_store: str,
) -> None:
    agent = pytest.importorskip("tests.scoring.mlflow.agent")
    tools = []

    @scorer
    def available(trace: Any) -> bool:
        from mlflow.genai.utils.trace_utils import extract_available_tools_from_trace

        tools.extend(extract_available_tools_from_trace(trace))
        return True

    question = "How many live in city-4?"
    handler = EvaluationCallbackHandler([{"request": question}], scorers=[available])
    model = agent.CityModel().bind_tools([agent.population])
    model.invoke(question, {"callbacks": [handler]})
    result = handler.result()
    assert result.unmatched == []
    assert [tool.function.name for tool in tools] == ["population"]
