"""MLflow's ChatAgent, and the chat completions of its ChatModel."""

import json
from contextlib import suppress
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import (
    AIMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from langchain_dbx_eval.errors import (
    DatabricksError,
    InvalidRequestError,
    InvalidResponseError,
    ServerError,
    StreamInterruptedError,
)
from langchain_dbx_eval.wire.mlflow.chat_agent import Stream, decode, encode
from tests.wire.corruption import corrupt, corrupt_one

USAGE = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}


def call(call_id: str, arguments: Any = '{"a": 1}') -> dict[str, Any]:
    function = {"name": "add", "arguments": arguments}
    return {"id": call_id, "type": "function", "function": function}


def assistant(text: str | None, message_id: str = "m1", **fields: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, "id": message_id, **fields}


def result(text: str, call_id: str) -> dict[str, Any]:
    fields = {"role": "tool", "content": text, "id": f"of-{call_id}"}
    return {**fields, "name": "add", "tool_call_id": call_id}


WORK = [
    assistant("I shall add.", "m1", tool_calls=[call("c1")]),
    result("3", "c1"),
    assistant("Three.", "m2"),
]


def message_of(*messages: Any, **fields: Any) -> AIMessage:
    (generation,) = decode({"messages": [*messages], **fields}).generations
    assert isinstance(generation.message, AIMessage)
    return generation.message


class TestEncode:
    CONVERSATION = (
        SystemMessage("Be brief."),
        HumanMessage([{"type": "text", "text": "1 + 2?"}], name="Ada"),
        AIMessage(
            [
                {"type": "reasoning", "reasoning": "Hm."},
                {"type": "text", "text": "I shall add."},
                {"type": "tool_use", "id": "c1", "name": "add", "input": {}},
            ],
            id="m1",
            tool_calls=[{"name": "add", "args": {"a": "ü"}, "id": "c1"}],
            invalid_tool_calls=[{"name": "add", "args": "{", "id": "c2", "error": "x"}],
        ),
        ToolMessage("3", tool_call_id="c1"),
        ToolMessage("4", tool_call_id="c2", name="adder"),
        AIMessage("Three.", id="lc_run--1"),
        ChatMessage("Thanks.", role="user", additional_kwargs={"attachments": {"a": "b"}}),
    )

    def test_each_message_type_is_encoded(self):
        before = deepcopy(self.CONVERSATION)
        calls = [call("c1", '{"a": "ü"}'), call("c2", "{")]
        assert encode(self.CONVERSATION, {})["messages"] == [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "1 + 2?", "name": "Ada"},
            {"role": "assistant", "content": "I shall add.", "id": "m1", "tool_calls": calls},
            {"role": "tool", "content": "3", "name": "add", "tool_call_id": "c1"},
            {"role": "tool", "content": "4", "name": "adder", "tool_call_id": "c2"},
            {"role": "assistant", "content": "Three."},
            {"role": "user", "content": "Thanks.", "attachments": {"a": "b"}},
        ]
        assert before == self.CONVERSATION

    def test_mlflow_accepts_the_request(self):
        agent = pytest.importorskip("mlflow.types.agent")
        params = {"custom_inputs": {"k": 1}, "context": {"user_id": "u"}, "stream": True}
        body = encode([*self.CONVERSATION, ToolMessage("5", tool_call_id="unknown")], params)
        request = agent.ChatAgentRequest(**body)
        assert request.model_dump(exclude_none=True) == body

    def test_parameters_without_meaning_are_omitted_and_unknown_ones_are_sent(self):
        params = {"n": 1, "stop": None, "stream_options": {"include_usage": True}, "x": 1}
        assert encode([HumanMessage("Hi")], params).keys() == {"messages", "x"}
        assert "x" in params

    @pytest.mark.parametrize(
        "params",
        [{"temperature": 0.0}, {"max_tokens": 3}, {"stop": ["."]}, {"tools": [{}]}, {"n": 2}],
        ids=str,
    )
    def test_an_unsupported_parameter_is_rejected(self, params):
        (name,) = params
        with pytest.raises(InvalidRequestError, match=f"no parameter '{name}'.*custom_inputs"):
            encode([HumanMessage("Hi")], params)

    @pytest.mark.parametrize(
        ("message", "expected"),
        [
            (HumanMessage([{"type": "image", "url": "https://a/b.png"}]), "'image'"),
            (FunctionMessage("3", name="add"), "FunctionMessage"),
            (HumanMessage([{"type": "tool_result", "content": "3"}]), "ToolMessage"),
        ],
        ids=["image", "function", "tool result"],
    )
    def test_an_unsupported_message_is_rejected(self, message, expected):
        with pytest.raises(InvalidRequestError, match=expected):
            encode([message], {})


class TestDecode:
    def test_the_last_text_is_the_answer_and_all_messages_are_kept(self):
        message = message_of(*WORK)
        assert (message.content, message.id, message.tool_calls) == ("Three.", "m2", [])
        assert message.response_metadata["messages"] == WORK

    def test_text_before_a_last_message_without_text_is_the_answer(self):
        message = message_of(*WORK, assistant(None, "m3", tool_calls=[call("c2"), call("c3", "{")]))
        assert (message.content, message.id) == ("Three.", "m2")
        assert [found["id"] for found in message.tool_calls] == ["c2"]
        assert [found["id"] for found in message.invalid_tool_calls] == ["c3"]
        assert message.response_metadata["finish_reason"] == "tool_calls"

    def test_a_call_alone_is_an_answer_without_text(self):
        message = message_of(assistant(None, tool_calls=[call("c1")]))
        assert (message.content, message.tool_calls[0]["args"]) == ("", {"a": 1})

    def test_metadata_and_usage_are_decoded(self):
        answer = {"messages": [assistant("Hi", name="bot", attachments={"a": "b"})], "usage": USAGE}
        result = decode({**answer, "finish_reason": "length", "custom_outputs": {"k": 1}})
        message = result.generations[0].message
        assert message.usage_metadata["total_tokens"] == 8
        assert message.name == "bot"
        assert message.additional_kwargs == {"attachments": {"a": "b"}}
        assert message.response_metadata == {
            "model_provider": "databricks",
            "custom_outputs": {"k": 1},
            "messages": answer["messages"],
            "finish_reason": "length",
        }
        assert result.llm_output == {"token_usage": USAGE, "usage": USAGE}

    def test_an_agent_that_answers_with_a_chat_completion_is_supported(self):
        choice = {"index": 0, "message": {"role": "assistant", "content": "Hi"}}
        (generation,) = decode({"choices": [choice], "custom_outputs": {"k": 1}}).generations
        assert generation.message.content == "Hi"
        assert generation.message.response_metadata["custom_outputs"] == {"k": 1}

    @pytest.mark.parametrize(
        "payload",
        [{"error": "Boom"}, {"error": {"message": "Boom"}}, {"error_code": "E", "message": "Boom"}],
        ids=str,
    )
    def test_a_failed_answer_raises_an_error_with_the_reason(self, payload):
        with pytest.raises(ServerError, match="Boom"):
            decode(payload)

    @pytest.mark.parametrize(
        "payload",
        [
            None,
            {},
            {"messages": []},
            {"messages": ["Hi"]},
            {"messages": [{"role": "user", "content": "Hi"}]},
            {"messages": [assistant([])]},
            {"messages": [assistant("Hi", tool_calls=[{"id": "c1"}])]},
            {"messages": [assistant("Hi", tool_calls=[{"id": "c1", "function": {}}])]},
            {"messages": [assistant("Hi", tool_calls=3)]},
        ],
        ids=str,
    )
    def test_a_payload_of_another_shape_is_rejected(self, payload):
        with pytest.raises(InvalidResponseError, match="Expected "):
            decode(payload)


def streamed(*events: Any) -> AIMessage:
    stream = Stream()
    texts = [event if isinstance(event, str) else json.dumps(event) for event in events]
    chunks = [chunk for text in texts if (chunk := stream.feed(text)) is not None]
    whole = stream.finish() if not chunks else sum([*chunks[1:], stream.finish()], chunks[0])
    return whole.message


def delta(message: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"delta": message, **fields}


class TestStream:
    def test_pieces_of_a_message_add_up(self):
        message = streamed(
            delta(assistant("Th")),
            delta(assistant("ree."), usage=USAGE, custom_outputs={"k": 1}, finish_reason="stop"),
        )
        whole = message_of(assistant("Three."), usage=USAGE, custom_outputs={"k": 1})
        assert (message.content, message.id) == (whole.content, whole.id)
        assert message.response_metadata == whole.response_metadata
        assert message.usage_metadata == whole.usage_metadata
        assert message.chunk_position == "last"

    def test_all_texts_are_streamed_and_all_messages_are_kept(self):
        message = streamed(*map(delta, WORK), "[DONE]")
        assert message.content == "I shall add.\n\nThree."
        assert message.response_metadata["messages"] == WORK
        assert message.tool_calls == []

    def test_a_call_without_a_result_is_left_to_the_caller(self):
        calls = assistant(None, "m3", tool_calls=[call("c2"), call("c3", "[1]")])
        message = streamed(*map(delta, [*WORK, calls]), "[DONE]")
        assert [found["id"] for found in message.tool_calls] == ["c2"]
        assert [found["id"] for found in message.invalid_tool_calls] == ["c3"]

    def test_usage_is_the_last_of_each_message_and_the_sum_of_all(self):
        half = {**USAGE, "completion_tokens": 1, "total_tokens": 6}
        message = streamed(
            delta(assistant("a", "m1"), usage=half),
            delta(assistant("b", "m1"), usage=USAGE),
            delta(assistant("c", "m2"), usage=USAGE),
            "[DONE]",
        )
        assert message.usage_metadata["total_tokens"] == 16

    def test_an_agent_that_streams_chat_completions_is_supported(self):
        event = {"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}]}
        assert streamed(event, "[DONE]").content == "Hi"

    def test_text_is_returned_piece_by_piece(self):
        stream = Stream()
        assert not stream.started
        chunk = stream.feed(json.dumps(delta(assistant("Th"))))
        assert chunk is not None
        assert (chunk.text, chunk.message.id, stream.started) == ("Th", "m1", True)

    @pytest.mark.parametrize(
        "event",
        [{"error": "Boom"}, {"error": {"message": "Boom"}}, {"error_code": "E", "message": "Boom"}],
        ids=str,
    )
    def test_an_error_event_raises_with_the_text_so_far(self, event):
        stream = Stream()
        stream.feed(json.dumps(delta(assistant("Th"))))
        with pytest.raises(StreamInterruptedError, match="Boom") as caught:
            stream.feed(json.dumps(event))
        assert caught.value.partial_text == "Th"

    @pytest.mark.parametrize(
        "first", [delta(assistant("Th")), delta(assistant("Th"), finish_reason="stop")]
    )
    def test_a_stream_without_a_finish_reason_raises_with_the_text_so_far(self, first):
        stream = Stream()
        stream.feed(json.dumps(first))
        stream.feed(json.dumps(delta(assistant("ree"))))
        with pytest.raises(StreamInterruptedError, match="before the model had finished") as caught:
            stream.finish()
        assert caught.value.partial_text == "Three"
        assert stream.interrupted("it was idle").partial_text == "Three"

    @pytest.mark.parametrize(
        "data",
        [
            "{",
            "[]",
            "{}",
            '{"delta": 3}',
            '{"delta": {"content": 3}}',
            '{"delta": {"tool_calls": 3}}',
        ],
    )
    def test_an_event_of_another_shape_is_rejected(self, data):
        with pytest.raises(InvalidResponseError, match="Expected "):
            Stream().feed(data)


KEYS = (
    "messages delta role content id name tool_calls function arguments tool_call_id usage error "
    "finish_reason custom_outputs attachments choices model prompt_tokens"
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS.split()),
            inner | st.sampled_from(["assistant", "tool"]),
            max_size=6,
        )
    ),
    max_leaves=15,
)


MESSAGE = st.dictionaries(st.sampled_from(KEYS.split()), JSON, max_size=6).map(
    lambda message: {"role": "assistant", **message}
)


@given(JSON | st.lists(MESSAGE, min_size=1, max_size=3).map(lambda given: {"messages": given}))
def test_any_json_as_an_answer_gives_a_message_that_can_be_sent_or_our_error(payload):
    with suppress(DatabricksError):
        encode([decode(payload).generations[0].message], {})


@given(st.lists(JSON | MESSAGE.map(delta), max_size=5))
def test_any_json_as_events_gives_a_message_or_our_error(events):
    with suppress(DatabricksError):
        streamed(*events, "[DONE]")


@given(st.data())
def test_an_answer_with_one_corrupted_value_gives_a_message_or_our_error(data):
    whole = {"messages": [*WORK, assistant(None, "m3", tool_calls=[call("c2")])], "usage": USAGE}
    with suppress(DatabricksError):
        encode([decode(corrupt(data.draw, JSON, whole)).generations[0].message], {})


@given(st.data())
def test_a_stream_with_one_corrupted_value_gives_a_message_or_our_error(data):
    pieces = [delta(assistant("a")), delta(assistant("b")), *map(delta, WORK)]
    with suppress(DatabricksError):
        streamed(*corrupt_one(data.draw, JSON, pieces), "[DONE]")
