"""Judges see whole conversations, and the input schema's further columns."""

from __future__ import annotations

import json
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from langchain_dbx_eval import PromptJudge, evaluate
from langchain_dbx_eval.scoring.conversation import (
    conversation_messages,
    conversation_text,
    recorded_tool_calls,
)
from tests.scoring.scripted_judge import ScriptedJudge, block, requested_judge

MESSAGES = [
    {"role": "user", "content": "What is Spark?"},
    {"role": "assistant", "content": "An engine."},
    {"role": "user", "content": "And who made it?"},
]
HISTORY = {"query": "And who made it?", "history": MESSAGES[:2]}
OBJECTS = [
    HumanMessage("What is Spark?"),
    AIMessage("An engine."),
    HumanMessage("And who made it?"),
]
NOTE = "judge the answer to its last message"


def judged(row: dict[str, Any], *names: str, **options: Any) -> list[Any]:
    """The messages that the judges with these names received."""
    judge = ScriptedJudge()
    config = {"databricks-agent": {"metrics": list(names)}}
    evaluate(data=[row], judge=judge, evaluator_config=config, **options)
    return judge.requests


@pytest.mark.parametrize(
    "request_", [{"messages": MESSAGES}, {"input": MESSAGES}, MESSAGES, HISTORY, OBJECTS]
)
def test_judges_see_all_messages_and_judge_the_last_turn(request_: Any, mlflow_store: str) -> None:
    row = {"request": request_, "response": "Matei."}
    (request,) = judged(row, "relevance_to_query")
    assert json.loads(block(request, "request")) == MESSAGES
    assert NOTE in request[0].content


@pytest.mark.parametrize("request_", ["q", {"messages": MESSAGES[:1]}, {"query": "q"}, {"a": 1}])
def test_a_request_with_one_turn_is_its_text(request_: Any, mlflow_store: str) -> None:
    (request,) = judged({"request": request_, "response": "a"}, "relevance_to_query")
    assert not block(request, "request").startswith("[")
    assert NOTE not in request[0].content


def test_a_conversation_has_the_form_of_databricks_agents() -> None:
    utils = pytest.importorskip("databricks.rag_eval.utils.input_output_utils")
    assert conversation_text({"messages": MESSAGES}) == utils.request_to_string(
        {"messages": MESSAGES}
    )


def test_prompt_judges_and_mlflows_judges_see_the_conversation(
    openai_server: Any, mlflow_store: str
) -> None:
    judge = ScriptedJudge()
    fits = PromptJudge("fits", "Does {response} fit {request}?", model=judge)
    row = {"request": {"messages": MESSAGES}, "response": "Matei."}
    config = {"databricks-agent": {"metrics": ["relevance_to_query"]}}
    evaluate(data=[row], judge="openai:/local", scorers=[fits], evaluator_config=config)
    assert "What is Spark?" in block(judge.requests[0], "request")
    assert "What is Spark?" in openai_server.requests[0]


def test_the_text_of_multimodal_messages_is_shown() -> None:
    blocks = [
        {"type": "text", "text": "And here?"},
        {"type": "image_url", "image_url": {"url": ""}},
    ]
    shown = conversation_text([*MESSAGES, {"role": "user", "content": blocks}])
    assert json.loads(shown)[-1]["content"] == "And here?"


def test_the_messages_of_a_graph_are_those_of_request_and_response() -> None:
    answer = {"role": "assistant", "content": "Matei."}
    for response in ("Matei.", AIMessage("Matei."), {"messages": [*OBJECTS, AIMessage("Matei.")]}):
        assert conversation_messages({"messages": MESSAGES}, response) == [*MESSAGES, answer]
    assert conversation_messages("q", None) == [{"role": "user", "content": "q"}]


@pytest.mark.parametrize(
    "call",
    [
        {"name": "search", "arguments": {"q": 1}, "result": "r"},
        {"name": "search", "args": {"q": 1}, "result": "r"},
        {"tool_name": "search", "tool_call_args": {"q": 1}, "tool_call_result": "r"},
        {"function": {"name": "search", "arguments": '{"q": 1}'}, "result": "r"},
    ],
)
def test_recorded_tool_calls_are_read_in_each_form(call: Any) -> None:
    expected = [{"name": "search", "arguments": {"q": 1}, "result": "r"}]
    assert recorded_tool_calls([call], None) == expected
    assert recorded_tool_calls(json.dumps([call]), None) == expected


def test_recorded_tool_calls_are_in_the_trace_for_mlflows_scorers(mlflow_store: str) -> None:
    from mlflow.genai.scorers import ToolCallCorrectness

    exact = ToolCallCorrectness(should_exact_match=True)
    call = {"name": "search", "arguments": {"q": 1}}
    rows = [
        {"request": f"q{n}", "response": "a", "tool_calls": [one], "expected_tool_calls": [call]}
        for n, one in enumerate([call, {"name": "browse", "arguments": {}}])
    ]
    result = evaluate(data=rows, scorers=[exact])
    assert list(result.tables["eval_results"]["tool_call_correctness/value"]) == ["yes", "no"]


def test_grading_notes_are_ground_truth(mlflow_store: str) -> None:
    row = {"request": "q", "response": "a", "grading_notes": "It must name Matei."}
    judge = ScriptedJudge()
    evaluate(data=[row], judge=judge)
    (request,) = [r for r in judge.requests if requested_judge(r) == "correctness"]
    assert block(request, "grading_notes") == "It must name Matei."
    assert "<grading_notes> says what a correct answer must be like" in request[0].content
    with_response = judged({**row, "expected_response": "e"}, "correctness")
    assert "grading_notes" not in str(with_response)


def test_guidelines_may_refer_to_their_context(mlflow_store: str) -> None:
    row = {
        "request": "q",
        "response": "a",
        "guidelines": ["Follow the policy."],
        "guidelines_context": {"policy": "Be brief."},
    }
    (request,) = judged(row, "guideline_adherence")
    assert block(request, "guidelines_context") == "[1] policy: Be brief."
    assert "<guidelines_context>" in request[0].content
