"""The Responses API: OpenAI's, and MLflow's ResponsesAgent."""

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
from pydantic import ValidationError

from langchain_dbx_eval.errors import (
    DatabricksError,
    InvalidRequestError,
    InvalidResponseError,
    RateLimitError,
    ServerError,
    StreamInterruptedError,
)
from langchain_dbx_eval.wire.responses import Stream, decode, encode
from tests.wire.corruption import corrupt, corrupt_one

REASONING = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [
        {"type": "summary_text", "text": "First.", "signature": "c2ln"},
        {"type": "summary_text", "text": "Second."},
    ],
    "encrypted_content": "gAAA",
}
LOOKUP = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "call_1",
    "name": "lookup",
    "arguments": '{"city": "Zürich"}',
}
LOOKED_UP = {"type": "function_call_output", "call_id": "call_1", "output": "rain"}
ADD = {**LOOKUP, "id": "fc_2", "call_id": "call_2", "name": "add", "arguments": '{"a": 1}'}
CITATION = {
    "type": "url_citation",
    "url": "https://a",
    "title": "A",
    "start_index": 0,
    "end_index": 4,
}
TEXT = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "It rains.", "annotations": [CITATION]}],
}
USAGE = {
    "input_tokens": 5,
    "output_tokens": 3,
    "total_tokens": 8,
    "input_tokens_details": {"cached_tokens": 2},
    "output_tokens_details": {"reasoning_tokens": 1},
}


def response(*output: Any, **fields: Any) -> dict[str, Any]:
    return {"id": "resp_1", "model": "gpt", "status": "completed", "output": [*output], **fields}


def message_of(*output: Any, **fields: Any) -> AIMessage:
    (generation,) = decode(response(*output, **fields)).generations
    assert isinstance(generation.message, AIMessage)
    return generation.message


def items(*messages: Any, **params: Any) -> list[dict[str, Any]]:
    return encode(messages, params)["input"]


class TestEncode:
    def test_each_message_type_is_encoded(self):
        conversation = [
            SystemMessage("Be brief."),
            SystemMessage("Obey.", additional_kwargs={"__openai_role__": "developer"}),
            HumanMessage("1 + 2?", name="Ada"),
            AIMessage(
                "I shall add.",
                tool_calls=[{"name": "add", "args": {"a": "ü"}, "id": "call_1"}],
                invalid_tool_calls=[{"name": "add", "args": "{", "id": "call_2", "error": "x"}],
            ),
            ToolMessage("3", tool_call_id="call_1"),
            ToolMessage([{"type": "text", "text": "a"}, "b"], tool_call_id="call_2"),
            ChatMessage("Thanks.", role="user"),
        ]
        call = {"type": "function_call", "name": "add"}
        assert items(*conversation) == [
            {"type": "message", "role": "system", "content": "Be brief."},
            {"type": "message", "role": "developer", "content": "Obey."},
            {"type": "message", "role": "user", "content": "1 + 2?"},
            {"type": "message", "role": "assistant", "content": "I shall add."},
            {**call, "call_id": "call_1", "arguments": '{"a": "ü"}'},
            {**call, "call_id": "call_2", "arguments": "{"},
            {"type": "function_call_output", "call_id": "call_1", "output": "3"},
            {"type": "function_call_output", "call_id": "call_2", "output": "a\nb"},
            {"type": "message", "role": "user", "content": "Thanks."},
        ]

    def test_an_answer_is_sent_back_as_its_own_items(self):
        message = message_of(REASONING, LOOKUP, LOOKED_UP, TEXT, ADD)
        before = message.model_copy(deep=True)
        uncited = {**TEXT, "content": [{**TEXT["content"][0], "annotations": []}]}
        assert items(message) == [REASONING, LOOKUP, LOOKED_UP, uncited, ADD]
        assert message == before

    def test_an_answer_in_output_version_1_is_sent_back_too(self):
        message = message_of(REASONING, TEXT, ADD)
        standard = AIMessage(content_blocks=message.content_blocks, id=message.id)
        sent = items(standard)
        assert sent[0] == REASONING
        assert [item["type"] for item in sent] == ["reasoning", "message", "function_call"]

    def test_without_storage_no_ids_are_sent(self):
        message = message_of(
            {**REASONING, "id": "rs_0", "encrypted_content": None}, REASONING, TEXT
        )
        assert items(message, store=False) == [
            REASONING,
            {"type": "message", "role": "assistant", "content": "It rains."},
        ]

    def test_a_call_that_the_user_changed_is_sent_with_the_change(self):
        message = message_of(ADD)
        changed = message.model_copy(
            update={"tool_calls": [{**message.tool_calls[0], "args": {"a": 2}}]}
        )
        assert items(changed) == [{**ADD, "arguments": '{"a": 2}'}]

    def test_reasoning_and_tools_of_other_providers_are_omitted(self):
        content = [
            {"type": "thinking", "thinking": "Hm.", "signature": "x"},
            {"type": "reasoning", "reasoning": "Hm.", "id": "lc_1"},
            {"type": "server_tool_call", "id": "1", "name": "web_search", "args": {}},
            {"type": "server_tool_result", "tool_call_id": "1", "status": "success"},
            {"type": "text", "text": "Hi.", "id": "lc_2"},
        ]
        assert items(AIMessage(content)) == [
            {"type": "message", "role": "assistant", "content": "Hi."}
        ]

    def test_media_are_encoded_with_their_marks_for_prompt_caching(self):
        mark = {"cache_control": {"type": "ephemeral"}}
        content = [
            {"type": "text", "text": "What is it?", **mark},
            {
                "type": "image",
                "base64": "iVBO",
                "mime_type": "image/png",
                "extras": {"detail": "low"},
            },
            {"type": "image_url", "image_url": {"url": "https://a/b.png"}},
            {"type": "file", "base64": "JVBE", "mime_type": "application/pdf"},
            {"type": "file", "url": "https://a/b.pdf"},
            {"type": "file", "file_id": "file-1"},
        ]
        (message,) = items(HumanMessage(content))
        assert message["content"] == [
            {"type": "input_text", "text": "What is it?", **mark},
            {"type": "input_image", "image_url": "data:image/png;base64,iVBO", "detail": "low"},
            {"type": "input_image", "image_url": "https://a/b.png"},
            {
                "type": "input_file",
                "filename": "file.pdf",
                "file_data": "data:application/pdf;base64,JVBE",
            },
            {"type": "input_file", "file_url": "https://a/b.pdf"},
            {"type": "input_file", "file_id": "file-1"},
        ]

    def test_an_approval_is_an_item_of_its_own(self):
        approval = {"type": "mcp_approval_response", "approval_request_id": "1", "approve": True}
        assert items(HumanMessage([approval])) == [approval]

    @pytest.mark.parametrize(
        ("message", "expected"),
        [
            (HumanMessage([{"type": "audio", "base64": "AA", "mime_type": "audio/wav"}]), "audio"),
            (AIMessage([{"type": "image", "url": "https://a/b.png"}]), "'image'"),
            (FunctionMessage("3", name="add"), "FunctionMessage"),
            (ChatMessage("Hm.", role="critic"), "'critic'"),
            (HumanMessage([{"type": "tool_result", "content": "3"}]), "ToolMessage"),
        ],
        ids=["audio", "image of the model", "function", "role", "tool result"],
    )
    def test_an_unsupported_message_is_rejected(self, message, expected):
        with pytest.raises(InvalidRequestError, match=expected):
            encode([message], {})

    def test_parameters_of_chat_completions_are_renamed(self):
        function = {"name": "add", "parameters": {}, "strict": True}
        schema = {"name": "s", "schema": {"type": "object"}, "strict": True}
        params = {
            "model": "gpt",
            "max_tokens": 9,
            "temperature": 0.5,
            "stop": None,
            "n": 1,
            "reasoning_effort": "low",
            "verbosity": "low",
            "logprobs": True,
            "stream_options": {"include_usage": True},
            "response_format": {"type": "json_schema", "json_schema": schema},
            "tools": [{"type": "function", "function": function}, {"type": "web_search"}],
            "tool_choice": {"type": "function", "function": {"name": "add"}},
            "custom_inputs": {"k": 1},
            "context": {"user_id": "u"},
        }
        before = deepcopy(params)
        assert encode([HumanMessage("Hi")], params) == {
            "input": [{"type": "message", "role": "user", "content": "Hi"}],
            "model": "gpt",
            "max_output_tokens": 9,
            "temperature": 0.5,
            "reasoning": {"effort": "low"},
            "text": {"verbosity": "low", "format": {"type": "json_schema", **schema}},
            "include": ["message.output_text.logprobs"],
            "tools": [{"type": "function", **function}, {"type": "web_search"}],
            "tool_choice": {"type": "function", "name": "add"},
            "custom_inputs": {"k": 1},
            "context": {"user_id": "u"},
        }
        assert params == before

    @pytest.mark.parametrize("params", [{"stop": ["."]}, {"n": 2}], ids=str)
    def test_an_unsupported_parameter_is_rejected(self, params):
        with pytest.raises(InvalidRequestError, match="Responses API"):
            encode([HumanMessage("Hi")], params)

    def test_mlflow_accepts_the_request(self):
        types = pytest.importorskip("mlflow.types.responses")
        conversation = [
            SystemMessage("Be brief."),
            HumanMessage([{"type": "text", "text": "?"}, {"type": "image", "url": "https://a/b"}]),
            message_of(REASONING, LOOKUP, LOOKED_UP, TEXT, ADD),
            ToolMessage("3", tool_call_id="call_2"),
            AIMessage("Bye."),
        ]
        params = {"max_tokens": 3, "custom_inputs": {"k": 1}, "context": {"user_id": "u"}}
        body = encode(conversation, params)
        request = types.ResponsesAgentRequest(**body)
        assert len(request.input) == len(body["input"])


class TestDecode:
    def test_text_reasoning_and_citations_are_standard_blocks(self):
        message = message_of(REASONING, TEXT)
        (first, second, text) = message.content
        extras = {"signature": "c2ln", "encrypted_content": "gAAA"}
        expected = {"type": "reasoning", "id": "rs_1"}
        assert first == {**expected, "reasoning": "First.", "extras": extras}
        assert second == {**expected, "reasoning": "Second."}
        citation = {k: v for k, v in CITATION.items() if k != "type"}
        assert text["annotations"] == [{"type": "citation", **citation}]
        assert message.text == "It rains."
        assert [block["type"] for block in message.content_blocks] == ["reasoning"] * 2 + ["text"]

    def test_a_call_that_the_agent_ran_is_not_left_to_the_caller(self):
        message = message_of(LOOKUP, LOOKED_UP, ADD)
        assert [call["id"] for call in message.tool_calls] == ["call_2"]
        kinds = [block["type"] for block in message.content]
        assert kinds == ["server_tool_call", "server_tool_result", "tool_call"]
        assert message.content[1]["output"] == "rain"

    @pytest.mark.parametrize("arguments", ["{", "[1]", '"a"', [1], 7], ids=str)
    def test_arguments_that_are_not_an_object_make_an_invalid_call(self, arguments):
        message = message_of({**ADD, "arguments": arguments})
        (bad,) = message.invalid_tool_calls
        assert (bad["name"], bad["id"], message.tool_calls) == ("add", "call_2", [])
        assert "The arguments" in bad["error"]

    @pytest.mark.parametrize("arguments", ["", None, {}, '{"text": "a\nb"}'], ids=repr)
    def test_lenient_arguments_are_parsed(self, arguments):
        assert len(message_of({**ADD, "arguments": arguments}).tool_calls) == 1

    def test_an_item_without_a_standard_block_is_kept_and_sent_back_unchanged(self):
        request = {"type": "mcp_approval_request", "id": "1", "name": "n"}
        request |= {"arguments": "{}", "server_label": "s"}
        message = message_of(request)
        assert message.content == [{"type": "non_standard", "value": request}]
        assert items(message) == [request]

    def test_reasoning_without_a_summary_is_decoded_and_sent_back(self):
        item = {"type": "reasoning", "id": "rs_1", "summary": []}
        item["content"] = [{"type": "reasoning_text", "text": "Hm."}]
        message = message_of(item)
        assert message.content[0]["reasoning"] == "Hm."
        assert items(message) == [item]

    def test_a_refusal_is_decoded(self):
        part = {"type": "refusal", "refusal": "I won't."}
        message = message_of({**TEXT, "content": [part]})
        assert message.additional_kwargs["refusal"] == "I won't."
        assert message.content == []
        assert items(message)[0]["content"] == "I won't."

    def test_metadata_and_usage_are_decoded(self):
        result = decode(response(TEXT, usage=USAGE, custom_outputs={"k": 1}))
        message = result.generations[0].message
        assert message.response_metadata == {
            "model_provider": "databricks",
            "id": "resp_1",
            "model_name": "gpt",
            "status": "completed",
            "custom_outputs": {"k": 1},
            "finish_reason": "stop",
        }
        assert message.id == "resp_1"
        assert message.usage_metadata == {
            "input_tokens": 5,
            "output_tokens": 3,
            "total_tokens": 8,
            "input_token_details": {"cache_read": 2},
            "output_token_details": {"reasoning": 1},
        }
        assert result.llm_output == {
            "model": "gpt",
            "model_name": "gpt",
            "token_usage": USAGE,
            "usage": USAGE,
        }

    def test_fields_that_mlflows_agents_omit_are_optional(self):
        (generation,) = decode({"object": "response", "output": [TEXT]}).generations
        assert generation.message.text == "It rains."
        assert generation.message.response_metadata["finish_reason"] == "stop"

    @pytest.mark.parametrize(
        ("details", "reason"),
        [
            ({"reason": "max_output_tokens"}, "length"),
            ({"reason": "content_filter"}, "content_filter"),
            (None, "incomplete"),
        ],
        ids=str,
    )
    def test_an_incomplete_answer_has_the_reason(self, details, reason):
        message = message_of(TEXT, status="incomplete", incomplete_details=details)
        assert (message.text, message.response_metadata["finish_reason"]) == ("It rains.", reason)

    @pytest.mark.parametrize(
        ("fields", "error", "expected"),
        [
            ({"error": {"code": "server_error", "message": "Boom"}}, ServerError, "Boom"),
            ({"error": {"code": "rate_limit_exceeded", "message": "Slow"}}, RateLimitError, "Slow"),
            ({"error": {"code": "invalid_prompt", "message": "No"}}, InvalidRequestError, "No"),
            ({"error": "Boom"}, ServerError, "Boom"),
            ({"status": "failed"}, ServerError, "failed"),
            ({"status": "cancelled"}, ServerError, "canceled"),
            ({"error_code": "INTERNAL_ERROR", "message": "Boom"}, ServerError, "Boom"),
        ],
        ids=str,
    )
    def test_a_failed_answer_raises_an_error_with_the_reason(self, fields, error, expected):
        with pytest.raises(error, match=expected):
            decode(response(TEXT, **fields))

    @pytest.mark.parametrize(
        "payload",
        [
            None,
            [],
            {"choices": []},
            response(),
            response("text"),
            response({"type": "message", "content": 3}),
            response({"type": "function_call", "name": "add"}),
            response({"type": "reasoning", "id": "1", "summary": [3]}),
            response({**ADD, "name": None}),
        ],
        ids=str,
    )
    def test_a_payload_of_another_shape_is_rejected(self, payload):
        with pytest.raises(InvalidResponseError, match="Expected "):
            decode(payload)


def streamed(*events: Any, stream: Stream | None = None) -> AIMessage:
    stream = stream or Stream()
    texts = [event if isinstance(event, str) else json.dumps(event) for event in events]
    chunks = [chunk for text in texts if (chunk := stream.feed(text)) is not None]
    whole = stream.finish() if not chunks else sum([*chunks[1:], stream.finish()], chunks[0])
    return whole.message


def without_index(message: AIMessage) -> list[dict[str, Any]]:
    return [{k: v for k, v in block.items() if k != "index"} for block in message.content]


def delta(
    text: str, kind: str = "output_text", item: str = "msg_1", **fields: Any
) -> dict[str, Any]:
    return {"type": f"response.{kind}.delta", "item_id": item, "delta": text, **fields}


def done(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "response.output_item.done", "item": item}


def completed(*output: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "response.completed", "response": response(*output, **fields)}


OPENING = {"type": "response.created", "response": response(status="in_progress")}
OPENAI_STREAM = [
    OPENING,
    {"type": "response.output_item.added", "output_index": 0, "item": {**REASONING, "summary": []}},
    delta("Fir", "reasoning_summary_text", "rs_1", summary_index=0),
    delta("st.", "reasoning_summary_text", "rs_1", summary_index=0),
    delta("Second.", "reasoning_summary_text", "rs_1", summary_index=1),
    done(REASONING),
    delta("It ", content_index=0),
    delta("rains.", content_index=0),
    {
        "type": "response.output_text.annotation.added",
        "item_id": "msg_1",
        "content_index": 0,
        "annotation": CITATION,
    },
    done(TEXT),
    {"type": "response.function_call_arguments.delta", "item_id": "fc_2", "delta": "{"},
    done(ADD),
    completed(REASONING, TEXT, ADD, usage=USAGE, custom_outputs={"k": 1}),
]


class TestStream:
    def test_a_stream_adds_up_to_the_complete_answer(self):
        message = streamed(*OPENAI_STREAM)
        whole = message_of(REASONING, TEXT, ADD, usage=USAGE, custom_outputs={"k": 1})
        assert without_index(message) == whole.content
        assert message.tool_calls == whole.tool_calls
        assert message.usage_metadata == whole.usage_metadata
        assert message.response_metadata == whole.response_metadata
        assert (message.id, message.chunk_position) == ("resp_1", "last")
        assert items(message)[0] == REASONING

    def test_text_is_returned_piece_by_piece(self):
        stream = Stream()
        assert stream.feed(json.dumps(OPENING)) is None
        assert not stream.started
        chunk = stream.feed(json.dumps(delta("It ")))
        assert chunk is not None
        assert (chunk.text, chunk.message.id, stream.started) == ("It ", "resp_1", True)

    @pytest.mark.parametrize(
        "events",
        [
            [delta("It "), delta("rains."), done(TEXT)],
            [delta("It "), delta("rains.")],
            [done(TEXT)],
            [delta("It "), done(TEXT)],
            [delta("It rains.", item="other"), done(TEXT)],
            [completed(TEXT)],
            [delta("It rains."), done(TEXT), completed(TEXT)],
        ],
        ids=["both", "deltas", "item", "a delta is missing", "other id", "end alone", "all three"],
    )
    def test_repeated_text_is_returned_once(self, events):
        assert streamed(*events, "[DONE]").text == "It rains."

    def test_messages_that_share_an_id_are_all_returned(self):
        second = {**TEXT, "content": [{"type": "output_text", "text": " It pours."}]}
        message = streamed(delta("It rains."), done(TEXT), delta(" It "), done(second), "[DONE]")
        assert message.text == "It rains. It pours."
        assert [block["text"] for block in message.content] == ["It rains.", " It pours."]

    def test_messages_without_an_id_are_all_returned(self):
        texts = [{"type": "message", "content": text} for text in ("a", "b", "ab")]
        assert streamed(*map(done, texts), "[DONE]").text == "abab"

    def test_a_call_that_the_agent_runs_later_is_not_left_to_the_caller(self):
        # Agents that forward their model's events send an end for each answer of the model.
        message = streamed(
            OPENING,
            done(LOOKUP),
            completed(LOOKUP, usage=USAGE),
            done(LOOKED_UP),
            {"type": "response.created", "response": response(id="resp_2")},
            delta("It rains."),
            done(TEXT),
            completed(TEXT, id="resp_2", usage=USAGE),
            completed(LOOKUP, LOOKED_UP),
            "[DONE]",
        )
        assert message.tool_calls == []
        assert without_index(message) == message_of(LOOKUP, LOOKED_UP, TEXT).content
        assert message.usage_metadata["total_tokens"] == 16
        assert (message.id, message.response_metadata["finish_reason"]) == ("resp_1", "stop")

    def test_an_agent_that_renames_its_models_items_is_supported(self):
        # As Databricks' templates for the OpenAI Agents SDK do: the items have ids of their own in
        # their events, but not in `response.completed`, and all answers are "__fake_id__".
        def fake(*output):
            renamed = [{**item, "id": "__fake_id__"} for item in output]
            return completed(*renamed, id="__fake_id__", usage=USAGE)

        opened = {"type": "response.created", "response": {"id": "__fake_id__"}}
        message = streamed(
            *(opened, done({**LOOKUP, "id": "u1"}), fake(LOOKUP), done(LOOKED_UP)),
            *(opened, delta("It ", item="u2"), delta("rains.", item="u2")),
            *(done({**TEXT, "id": "u2"}), fake(TEXT), "[DONE]"),
        )
        assert message.text == "It rains."
        assert message.tool_calls == []
        assert message.usage_metadata["total_tokens"] == 16

    def test_two_items_with_the_same_text_are_both_returned(self):
        twice = [TEXT, {**TEXT, "id": "msg_2"}]
        assert streamed(*map(done, twice), completed(*twice)).text == "It rains.It rains."
        assert streamed(completed(*twice)).text == "It rains.It rains."

    def test_valid_and_invalid_calls_are_separated(self):
        message = streamed(done(LOOKUP), done({**ADD, "arguments": "[1]"}), "[DONE]")
        assert [call["id"] for call in message.tool_calls] == ["call_1"]
        assert [call["id"] for call in message.invalid_tool_calls] == ["call_2"]

    def test_a_refusal_is_returned_once(self):
        refusal = {**TEXT, "content": [{"type": "refusal", "refusal": "I won't."}]}
        pieces = [delta(text, "refusal") for text in ("I ", "won't.")]
        message = streamed(*pieces, done(refusal), completed(refusal))
        assert message.additional_kwargs == {"refusal": "I won't."}
        assert message.text == ""

    def test_an_incomplete_answer_has_the_reason(self):
        details = {"reason": "max_output_tokens"}
        ending = {"output": [], "incomplete_details": details}
        message = streamed(delta("It "), {"type": "response.incomplete", "response": ending})
        assert (message.text, message.response_metadata["finish_reason"]) == ("It ", "length")

    def test_mlflows_outputs_beside_the_answer_are_kept(self):
        message = streamed(
            done(TEXT) | {"custom_outputs": {"k": 1}}, {"trace_id": "tr-1"}, "[DONE]"
        )
        assert message.response_metadata["custom_outputs"] == {"k": 1}
        assert message.response_metadata["trace_id"] == "tr-1"

    def test_logprobs_are_concatenated(self):
        one, two = {"token": "It "}, {"token": "rains."}
        message = streamed(delta("It ", logprobs=[one]), delta("rains.", logprobs=[two]), "[DONE]")
        assert message.response_metadata["logprobs"] == {"content": [one, two]}

    @pytest.mark.parametrize(
        ("event", "expected"),
        [
            ({"type": "error", "code": "server_error", "message": "Boom"}, "server_error: Boom"),
            ({"type": "error", "error": {"message": "Boom"}}, "Boom"),
            ({"type": "response.failed", "response": {"error": {"message": "Boom"}}}, "Boom"),
            ({"type": "response.failed", "response": {}}, "no reason given"),
            ({"type": "response.cancelled"}, "canceled"),
            ({"error": "Boom"}, "Boom"),
            ({"error_code": "INTERNAL_ERROR", "message": "Boom"}, "INTERNAL_ERROR: Boom"),
            (completed(status="failed", error={"message": "Boom"}), "Boom"),
        ],
        ids=str,
    )
    def test_an_error_event_raises_with_the_text_so_far(self, event, expected):
        stream = Stream()
        stream.feed(json.dumps(delta("It ")))
        with pytest.raises(StreamInterruptedError, match=expected) as caught:
            stream.feed(json.dumps(event))
        assert caught.value.partial_text == "It "

    @pytest.mark.parametrize(
        "events",
        [[], [OPENING], [delta("It ")], [completed(LOOKUP), OPENING, delta("It ")]],
        ids=["empty", "opened", "text", "second answer"],
    )
    def test_a_stream_without_a_finish_reason_raises_with_the_text_so_far(self, events):
        stream = Stream()
        for event in events:
            stream.feed(json.dumps(event))
        with pytest.raises(StreamInterruptedError, match="before the model had finished") as caught:
            stream.finish()
        assert caught.value.partial_text == ("It " if delta("It ") in events else "")
        assert isinstance(stream.interrupted("it was idle"), StreamInterruptedError)

    @pytest.mark.parametrize(
        "data",
        [
            "{",
            "[]",
            "{}",
            '{"type": 3}',
            '{"type": "response.output_text.delta"}',
            '{"type": "response.output_item.done"}',
            '{"type": "response.output_item.done", "item": {"type": "function_call"}}',
            '{"type": "response.completed"}',
        ],
    )
    def test_an_event_of_another_shape_is_rejected(self, data):
        with pytest.raises(InvalidResponseError, match="Expected "):
            Stream().feed(data)

    def test_an_event_of_an_unknown_type_is_ignored(self):
        assert Stream().feed('{"type": "response.hummed"}') is None


KEYS = (
    "type id output content text item delta response error status usage summary call_id name "
    "arguments annotations refusal item_id content_index output_index message encrypted_content "
    "signature incomplete_details custom_outputs model logprobs input_tokens"
)
VALUES = (
    "message reasoning function_call function_call_output output_text refusal failed incomplete "
    "url_citation response.output_text.delta response.output_item.done response.completed "
    "response.reasoning_summary_text.delta response.output_text.annotation.added"
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS.split()), inner | st.sampled_from(VALUES.split()), max_size=6
        )
    ),
    max_leaves=15,
)


ITEM = st.dictionaries(
    st.sampled_from(KEYS.split()), JSON | st.sampled_from(VALUES.split()), max_size=7
)


@given(JSON | st.builds(lambda output: {"output": output}, st.lists(ITEM, max_size=3)))
def test_any_json_as_an_answer_gives_a_message_that_can_be_sent_or_our_error(payload):
    with suppress(DatabricksError):
        encode([decode(payload).generations[0].message], {})


@given(st.lists(ITEM, max_size=5))
def test_any_json_as_events_gives_a_message_or_our_error(events):
    with suppress(DatabricksError):
        streamed(*events, "[DONE]")


@given(st.lists(ITEM, max_size=3), st.sampled_from([HumanMessage, AIMessage, SystemMessage]))
def test_any_json_as_content_gives_a_body_or_our_error_and_is_not_changed(content, kind):
    message = kind(content)
    before = deepcopy(content)
    with suppress(InvalidRequestError):
        encode([message], {})
    assert content == before


@given(st.data())
def test_an_answer_with_one_corrupted_value_gives_a_message_or_our_error(data):
    custom = {"type": "mcp_call", "id": "1"}
    parts = [{"type": "refusal", "refusal": "No."}, {"type": "hum"}]
    mixed = {"type": "message", "id": "msg_2", "content": parts}
    whole = response(REASONING, LOOKUP, LOOKED_UP, TEXT, ADD, custom, mixed, usage=USAGE)
    with suppress(DatabricksError):
        encode([decode(corrupt(data.draw, JSON, whole)).generations[0].message], {"store": False})


@given(st.data())
def test_a_stream_with_one_corrupted_value_gives_a_message_or_our_error(data):
    with suppress(DatabricksError):
        streamed(
            *corrupt_one(data.draw, JSON, [*OPENAI_STREAM, done(LOOKUP), done(LOOKED_UP)]), "[DONE]"
        )


@given(st.data())
def test_a_message_with_one_corrupted_value_gives_a_body_or_our_error(data):
    content = corrupt(data.draw, JSON, message_of(REASONING, LOOKUP, LOOKED_UP, TEXT, ADD).content)
    with suppress(InvalidRequestError, ValidationError):
        encode([AIMessage(content)], {})
