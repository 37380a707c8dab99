"""`ChatDatabricks` over agents: MLflow's ResponsesAgent and ChatAgent, complete and streamed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.messages import AIMessageChunk, HumanMessage

from langchain_dbx_eval import ChatDatabricks, errors
from langchain_dbx_eval.testing import LocalWorkspace


@pytest.fixture
def agents(workspace: LocalWorkspace) -> LocalWorkspace:
    workspace.add_endpoint("responses", lambda items, **params: "one two three", kind="responses")
    workspace.add_endpoint("agent", lambda messages, **params: "one two three", kind="chat_agent")
    return workspace


MODELS = [
    {"model": "responses", "use_responses_api": True},
    {"model": "responses", "task": "agent/v1/responses"},
    {"model": "agent", "task": "agent/v2/chat"},
    {"model": "agent"},
]


def added(chunks: list[Any]) -> AIMessageChunk:
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    return whole


@pytest.mark.parametrize("arguments", MODELS, ids=str)
def test_an_agent_answers(agents: LocalWorkspace, arguments: dict[str, Any]) -> None:
    answer = ChatDatabricks(**arguments).invoke("hi")
    assert answer.text == "one two three"
    assert answer.response_metadata["model_provider"] == "databricks"


@pytest.mark.parametrize("arguments", MODELS, ids=str)
def test_an_agent_streams(agents: LocalWorkspace, arguments: dict[str, Any]) -> None:
    chat = ChatDatabricks(**arguments)

    async def stream() -> list[Any]:
        return [chunk async for chunk in chat.astream("hi")]

    for chunks in (list(chat.stream("hi")), asyncio.run(stream())):
        assert len(chunks) > 2
        assert added(chunks).text == "one two three"


@pytest.mark.parametrize("arguments", MODELS, ids=str)
def test_custom_inputs_reach_the_agent(agents: LocalWorkspace, arguments: dict[str, Any]) -> None:
    ChatDatabricks(**arguments).invoke([HumanMessage("hi")], custom_inputs={"user": 7})
    assert agents.requests[-1].body["custom_inputs"] == {"user": 7}


@pytest.mark.parametrize("arguments", MODELS, ids=str)
def test_a_cut_stream_of_an_agent_raises(agents: LocalWorkspace, arguments: dict[str, Any]) -> None:
    agents.cut_stream(arguments["model"], after=3, times=9)
    with pytest.raises(errors.StreamInterruptedError):
        list(ChatDatabricks(**arguments, max_retries=0).stream("hi"))


def test_max_tokens_is_renamed_for_the_responses_api(agents: LocalWorkspace) -> None:
    ChatDatabricks(model="responses", use_responses_api=True, max_tokens=5).invoke("hi")
    body = agents.requests[-1].body
    assert body["max_output_tokens"] == 5
    assert "messages" not in body


def test_the_responses_api_behind_a_gateway_is_supported(agents: LocalWorkspace) -> None:
    chat = ChatDatabricks(model="responses", use_responses_api=True, base_url="/serving-endpoints")
    assert chat.invoke("hi").text == "one two three"
    assert agents.requests[-1].path == "/serving-endpoints/responses"


def test_a_task_that_is_not_a_chat_task_is_rejected() -> None:
    with pytest.raises(errors.ConfigurationError, match="agent/v2/chat"):
        ChatDatabricks(model="m", task="llm/v1/embeddings")
