import contextlib
import json

import openai
import pytest
import requests
from langchain_core.messages import HumanMessage, ToolMessage

from langchain_dbx_eval._internal.sse import EventDecoder
from langchain_dbx_eval.driver.engines.base import Generation
from langchain_dbx_eval.errors import ConfigurationError, StreamInterruptedError
from langchain_dbx_eval.wire import responses
from langchain_dbx_eval.wire.mlflow import chat_agent

QUESTION = {"input": [{"role": "user", "content": "how are you"}]}
AGENT_QUESTION = {"messages": [{"role": "user", "content": "how are you"}]}
CALL = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "call_1",
    "name": "weather",
    "arguments": '{"city": "Paris"}',
}
CHAT_CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Paris"}'},
}


@pytest.fixture(autouse=True)
def endpoints(workspace):
    workspace.add_endpoint("agent", lambda items: "I am fine.", kind="responses")
    workspace.add_endpoint("tools", lambda items: [CALL], kind="responses")
    workspace.add_endpoint("chat-agent", lambda messages: "I am fine.", kind="chat_agent")


def events(chunks):
    decoder = EventDecoder()
    for chunk in chunks:
        yield from decoder.feed(chunk)
    yield from decoder.finish()


def read_stream(session, endpoint, body, stream):
    answer = session.query(endpoint, {**body, "stream": True}, stream=True)
    chunks = [chunk for data in events(answer.iter_content(None)) if (chunk := stream.feed(data))]
    return sum(chunks[1:], chunks[0]) + stream.finish() if chunks else stream.finish()


def test_the_description_of_an_agent_has_the_task_that_mlflow_assigns(session):
    descriptions = {
        name: session.get(f"/api/2.0/serving-endpoints/{name}").json()
        for name in ("agent", "chat-agent")
    }

    assert descriptions["agent"]["task"] == "agent/v1/responses"
    assert descriptions["chat-agent"]["task"] == "agent/v2/chat"
    assert "endpoint_type" not in descriptions["agent"]
    assert descriptions["agent"]["config"]["served_entities"][0]["entity_name"] == "agent"


def test_an_external_agent_is_an_error(workspace):
    with pytest.raises(ConfigurationError, match="not responses"):
        workspace.add_endpoint("x", lambda items: "", kind="responses", external=True)


class TestResponses:
    def test_a_text_becomes_a_message_of_the_output(self, session):
        answer = session.query("agent", QUESTION).json()

        (item,) = answer["output"]
        assert item["content"] == [{"type": "output_text", "text": "I am fine.", "annotations": []}]
        assert (answer["status"], answer["model"]) == ("completed", "agent")
        assert answer["usage"]["total_tokens"] == 6

    def test_our_codec_decodes_an_answer_and_its_stream_to_the_same_message(self, session):
        whole = responses.decode(session.query("agent", QUESTION).json()).generations[0].message
        streamed = read_stream(session, "agent", QUESTION, responses.Stream()).message

        assert whole.text == streamed.text == "I am fine."
        assert whole.usage_metadata == streamed.usage_metadata
        assert whole.response_metadata["model_name"] == streamed.response_metadata["model_name"]

    def test_a_tool_call_and_its_result_are_exchanged(self, workspace, session):
        def agent(items, custom_inputs=None):
            results = [
                item["output"] for item in items if item.get("type") == CALL["type"] + "_output"
            ]
            return {"output": [f"It is {results[0]}."], "custom_outputs": custom_inputs}

        workspace.add_endpoint("reader", agent, kind="responses")
        question = [HumanMessage("the weather?")]
        call = read_stream(session, "tools", QUESTION, responses.Stream()).message
        body = responses.encode(
            [*question, call, ToolMessage("sunny", tool_call_id="call_1")],
            {"custom_inputs": {"k": 1}},
        )
        answer = responses.decode(session.query("reader", body).json()).generations[0].message

        assert call.tool_calls[0]["args"] == {"city": "Paris"}
        assert answer.text == "It is sunny."
        assert answer.response_metadata["custom_outputs"] == {"k": 1}

    def test_mlflow_accepts_the_events_of_a_stream(self, workspace, session):
        types = pytest.importorskip("mlflow.types.responses")
        thought = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm, so."}]}
        workspace.add_endpoint("thinker", lambda items: [thought, "Yes.", CALL], kind="responses")

        answer = session.query("thinker", {**QUESTION, "stream": True}, stream=True)
        sent = [json.loads(data) for data in events(answer.iter_content(None)) if data != "[DONE]"]

        for event in sent:
            types.ResponsesAgentStreamEvent(**event)
        types.ResponsesAgentResponse(**sent[-1]["response"])
        stream = responses.Stream()
        message = sum([c for e in sent if (c := stream.feed(json.dumps(e)))][1:], stream.finish())
        assert message.message.tool_calls[0]["name"] == "weather"

    def test_openais_client_names_the_endpoint_in_the_body(self, workspace):
        url = f"{workspace.url}/serving-endpoints"
        with openai.OpenAI(base_url=url, api_key=workspace.token) as client:
            answer = client.responses.create(model="agent", input="how are you")
            with client.responses.stream(model="agent", input="how are you") as stream:
                streamed = stream.get_final_response()

        assert answer.output_text == streamed.output_text == "I am fine."

    @pytest.mark.parametrize(
        ("reply", "status"),
        [
            ({"output": [], "status": "failed", "error": {"code": "x", "message": "y"}}, "failed"),
            (Generation("cut", "length"), "incomplete"),
        ],
        ids=["failed", "incomplete"],
    )
    def test_a_failed_or_incomplete_answer_ends_with_its_status(
        self, workspace, session, reply, status
    ):
        workspace.add_endpoint("bad", lambda items: reply, kind="responses")

        answer = session.query("bad", {**QUESTION, "stream": True})
        *_, last = [json.loads(d) for d in events([answer.content]) if d != "[DONE]"]

        assert last["type"] == f"response.{status}"
        assert session.query("bad", QUESTION).json()["status"] == status

    def test_our_codec_raises_for_a_cut_stream(self, workspace, session):
        workspace.cut_stream("agent", after=4)
        stream = responses.Stream()
        answer = session.query("agent", {**QUESTION, "stream": True}, stream=True)
        with contextlib.suppress(requests.RequestException):
            for data in events(answer.iter_content(None)):
                stream.feed(data)

        with pytest.raises(StreamInterruptedError) as caught:
            stream.finish()
        assert caught.value.partial_text == "I "

    @pytest.mark.parametrize(
        ("body", "expected"),
        [
            ({}, "'input'"),
            ({"messages": []}, "messages"),
            ({"input": []}, "at least one"),
            ({"input": [3]}, "object"),
            ({"input": "hi", "stop": ["."]}, "stop"),
            ({"input": [{"role": "critic", "content": "hi"}]}, "critic"),
            ({"input": [{"role": "user", "content": [{"type": "text"}]}]}, "text"),
            (
                {"input": [{"role": "assistant", "content": [{"type": "output_text"}]}]},
                "output_text",
            ),
            ({"input": [{"type": "function_call", "name": "x"}]}, "call_id"),
            (
                {"input": [{"type": "function_call_output", "call_id": "c", "output": ""}]},
                "No tool",
            ),
            ({"input": [{"type": "hum"}]}, "hum"),
        ],
        ids=str,
    )
    def test_an_invalid_request_is_400_and_names_the_problem(self, session, body, expected):
        answer = session.query("agent", body)

        assert answer.status_code == 400
        assert expected in answer.json()["message"]


class TestChatAgent:
    def test_a_text_becomes_a_message(self, session):
        answer = session.query("chat-agent", AGENT_QUESTION).json()

        (message,) = answer["messages"]
        assert (message["role"], message["content"]) == ("assistant", "I am fine.")
        assert answer["usage"]["total_tokens"] == 6

    def test_our_codec_decodes_an_answer_and_its_stream_to_the_same_message(
        self, workspace, session
    ):
        messages = [
            {"content": None, "tool_calls": [CHAT_CALL]},
            {"role": "tool", "content": "sunny", "name": "weather", "tool_call_id": "call_1"},
            "It is sunny.",
        ]
        whole = {"messages": messages, "custom_outputs": {"k": 1}}
        workspace.add_endpoint("worker", lambda messages: whole, kind="chat_agent")

        answer = (
            chat_agent.decode(session.query("worker", AGENT_QUESTION).json()).generations[0].message
        )
        stream = read_stream(session, "worker", AGENT_QUESTION, chat_agent.Stream()).message

        assert answer.text == stream.text == "It is sunny."
        assert answer.tool_calls == stream.tool_calls == []
        assert answer.usage_metadata == stream.usage_metadata
        assert stream.response_metadata["custom_outputs"] == {"k": 1}
        assert len(stream.response_metadata["messages"]) == 3

    def test_mlflow_accepts_the_answer_and_its_chunks(self, session):
        types = pytest.importorskip("mlflow.types.agent")
        types.ChatAgentResponse(**session.query("chat-agent", AGENT_QUESTION).json())

        answer = session.query("chat-agent", {**AGENT_QUESTION, "stream": True})
        chunks = [json.loads(data) for data in events([answer.content]) if data != "[DONE]"]
        assert [types.ChatAgentChunk(**c).delta.content for c in chunks] == ["I ", "am ", "fine."]

    def test_an_agent_receives_only_the_fields_in_its_signature(self, workspace, session):
        received = []
        workspace.add_endpoint(
            "spy", lambda messages, context: received.append(context) or "", kind="chat_agent"
        )

        body = {**AGENT_QUESTION, "context": {"user_id": "u"}, "custom_inputs": {"k": 1}}
        assert session.query("spy", body).status_code == 200
        assert received == [{"user_id": "u"}]

    @pytest.mark.parametrize(
        ("body", "expected"),
        [
            ({}, "'messages'"),
            ({"input": []}, "input"),
            ({"messages": []}, "at least one"),
            ({"messages": [{"content": "hi"}]}, "role"),
            ({"messages": [{"role": "user", "content": []}]}, "string"),
            ({"messages": [{"role": "assistant"}]}, "tool_calls"),
            ({"messages": [{"role": "tool", "content": "3", "tool_call_id": "c"}]}, "name"),
            ({**AGENT_QUESTION, "temperature": 0}, "temperature"),
        ],
        ids=str,
    )
    def test_an_invalid_request_is_400_and_names_the_problem(self, session, body, expected):
        answer = session.query("chat-agent", body)

        assert answer.status_code == 400
        assert expected in answer.json()["message"]
