"""Details of answers and histories that real endpoints send, over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from pydantic import BaseModel

from langchain_dbx_eval import ChatDatabricks, DatabricksEmbeddings
from tests.loopback import (
    CALLS,
    LoopbackServer,
    Pieces,
    Received,
    call_model,
    chat_answer,
    chat_chunk,
    events,
)

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
STREAMS = pytest.mark.parametrize("call", ["stream", "astream"])


def server_of(answer: Any, *chunks: Any) -> LoopbackServer:
    """Return a server that answers a request, or streams the chunks if it asks for a stream."""

    def reply(received: Received) -> Any:
        return Pieces(events(*chunks)) if received.body.get("stream") else answer

    return LoopbackServer(reply)


def call_and_add(chat: ChatDatabricks, call: str, **kwargs: Any) -> AIMessage:
    answer = call_model(chat, call, **kwargs)
    if isinstance(answer, list):
        whole: AIMessageChunk = sum(answer[1:], start=answer[0])
        return whole
    return answer


def test_metadata_has_the_names_of_langchain_openai_and_of_databricks_langchain() -> None:
    with LoopbackServer(lambda _: chat_answer(model="m-1", usage=USAGE)) as server:
        chat = ChatDatabricks(model="m", **server.login)
        metadata = chat.invoke("hi").response_metadata
        output = chat.generate([[HumanMessage("hi")]]).llm_output
    assert metadata["model"] == metadata["model_name"] == output["model"] == "m-1"
    assert metadata["usage"] == metadata["token_usage"] == USAGE
    assert chat._get_invocation_params()["model"] == "m"
    assert chat.asdict()["model"] == "m"


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("place", ["answer", "message"])
def test_custom_outputs_are_found_in_the_answer_and_in_its_message(call: str, place: str) -> None:
    answer, chunk = chat_answer(), chat_chunk("ok")
    outputs = {"custom_outputs": {"sources": [1]}}
    if place == "answer":
        answer |= outputs
        chunk |= outputs
    else:
        answer["choices"][0]["message"] |= outputs
        chunk["choices"][0]["delta"] |= outputs
    with server_of(answer, chunk, chat_chunk(end="stop")) as server:
        message = call_and_add(ChatDatabricks(model="m", **server.login), call)
    assert message.response_metadata["custom_outputs"] == {"sources": [1]}


@pytest.mark.parametrize("call", CALLS)
def test_a_chat_agent_may_write_custom_outputs_into_its_message(call: str) -> None:
    own = {"role": "assistant", "id": "1", "content": "ok", "custom_outputs": {"sources": [1]}}
    with server_of({"messages": [own]}, {"delta": own, "finish_reason": "stop"}) as server:
        message = call_and_add(ChatDatabricks(model="m", **server.login), call)
    assert message.text == "ok"
    assert message.response_metadata["custom_outputs"] == {"sources": [1]}


@pytest.mark.parametrize("task", [None, "agent/v2/chat"])
@pytest.mark.parametrize("call", CALLS)
def test_a_chat_agent_may_send_choices_that_are_null(call: str, task: str | None) -> None:
    own = {"role": "assistant", "id": "1", "content": "ok"}
    answer = {"messages": [own], "choices": None, "finish_reason": "stop"}
    chunk = {"delta": own, "choices": None, "finish_reason": "stop"}
    with server_of(answer, chunk) as server:
        assert call_and_add(ChatDatabricks(model="m", task=task, **server.login), call).text == "ok"


def test_a_role_other_than_assistant_is_kept_in_the_metadata() -> None:
    answer = {"choices": [{"message": {"role": "tool", "content": "ok"}}]}
    with LoopbackServer(lambda _: answer) as server:
        message = ChatDatabricks(model="m", **server.login).invoke("hi")
    assert isinstance(message, AIMessage)
    assert message.response_metadata["role"] == "tool"


@STREAMS
@pytest.mark.parametrize("by", ["constructor", "call"])
def test_without_stream_usage_a_stream_has_no_usage(call: str, by: str) -> None:
    chunks = chat_chunk("ok", usage=USAGE), chat_chunk(end="stop", usage=USAGE)
    off = {"stream_usage": False}
    given, call_given = (off, {}) if by == "constructor" else ({}, off)
    with server_of(None, *chunks) as server:
        message = call_and_add(
            ChatDatabricks(model="m", **given, **server.login), call, **call_given
        )
        assert "stream_options" not in server.bodies[0]
    assert message.text == "ok"
    assert message.usage_metadata is None


def test_audio_tokens_are_counted_for_input_and_output() -> None:
    usage = {
        **USAGE,
        "prompt_tokens_details": {"audio_tokens": 2, "cached_tokens": 1},
        "completion_tokens_details": {"audio_tokens": 1, "reasoning_tokens": 0},
    }
    with LoopbackServer(lambda _: chat_answer(usage=usage)) as server:
        counts = ChatDatabricks(model="m", **server.login).invoke("hi").usage_metadata
    assert counts["input_token_details"] == {"audio": 2, "cache_read": 1}
    assert counts["output_token_details"] == {"audio": 1, "reasoning": 0}


def test_a_refusal_in_a_history_is_sent_to_the_responses_api() -> None:
    item = {"type": "message", "id": "1", "role": "assistant", "content": []}
    text = {"type": "output_text", "text": "ok", "annotations": []}
    refusal = {"type": "refusal", "refusal": "I will not."}
    with LoopbackServer(lambda _: {"output": [{**item, "content": [text]}]}) as server:
        chat = ChatDatabricks(model="m", use_responses_api=True, **server.login)
        chat.invoke([HumanMessage("do"), AIMessage([refusal]), HumanMessage("why?")])
        sent = {"type": "message", "role": "assistant", "content": "I will not."}
        assert server.bodies[0]["input"][1] == sent
        both = AIMessage([refusal], additional_kwargs={"refusal": "I will not."})
        chat.invoke([HumanMessage("do"), both, HumanMessage("why?")])
        assert server.bodies[1]["input"] == server.bodies[0]["input"]


def test_vectors_that_all_have_index_0_are_in_the_order_of_the_texts() -> None:
    data = [{"index": 0, "embedding": [float(n)]} for n in range(3)]
    with LoopbackServer(lambda _: {"data": data}) as server:
        model = DatabricksEmbeddings(endpoint="m", **server.login)
        assert model.embed_documents(["a", "b", "c"]) == [[0.0], [1.0], [2.0]]


@pytest.mark.parametrize(("total", "expected"), [(110, 100), (None, 100), (160, 150)])
def test_cached_tokens_are_input_tokens_and_counted_once(total: int | None, expected: int) -> None:
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 10,
        "total_tokens": total,
        "cache_read_input_tokens": 30,
        "cache_creation_input_tokens": 20,
    }
    with LoopbackServer(lambda _: chat_answer(usage=usage)) as server:
        counts = ChatDatabricks(model="m", **server.login).invoke("hi").usage_metadata
    assert counts == {
        "input_tokens": expected,
        "output_tokens": 10,
        "total_tokens": expected + 10,
        "input_token_details": {"cache_read": 30, "cache_creation": 20},
    }


class Point(BaseModel):
    """A point."""

    x: int
    y: int | None = None


@pytest.mark.parametrize("strict", [None, True, False])
def test_json_schema_is_strict_by_default(strict: bool | None) -> None:
    with LoopbackServer(lambda _: chat_answer('{"x": 1, "y": null}')) as server:
        chat = ChatDatabricks(model="m", **server.login)
        structured = chat.with_structured_output(Point, method="json_schema", strict=strict)
        assert structured.invoke("hi") == Point(x=1)
        [body] = server.bodies
    sent = body["response_format"]["json_schema"]
    assert sent["strict"] == (strict is not False)
    assert sent["schema"].get("additionalProperties", True) == (strict is False)
    assert sent["schema"]["required"] == (["x"] if strict is False else ["x", "y"])
