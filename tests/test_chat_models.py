"""`ChatDatabricks`: invoke, stream, and errors of the endpoint."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

from langchain_dbx_eval import ChatDatabricks, errors
from langchain_dbx_eval.testing import LocalWorkspace
from tests.loopback import (
    CALLS,
    Answer,
    LoopbackServer,
    Pieces,
    Received,
    call_model,
    chat_chunk,
    events,
)


@pytest.fixture
def my_chat(workspace: LocalWorkspace) -> LocalWorkspace:
    workspace.add_endpoint("my-chat", lambda messages, **p: "one two three four", kind="chat")
    return workspace


def test_messages_keep_their_roles(my_chat: LocalWorkspace) -> None:
    ChatDatabricks(model="my-chat").invoke(
        [SystemMessage("be brief"), HumanMessage("hi"), AIMessage("yes?"), HumanMessage("go")]
    )
    roles = [m["role"] for m in my_chat.requests[-1].body["messages"]]
    assert roles == ["system", "user", "assistant", "user"]


def test_an_answer_has_usage_model_name_and_finish_reason(my_chat: LocalWorkspace) -> None:
    answer = ChatDatabricks(model="my-chat").invoke("hi")
    assert answer.usage_metadata["output_tokens"] == 4
    assert answer.response_metadata["model_name"] == "my-chat"
    assert answer.response_metadata["finish_reason"] == "stop"


@pytest.mark.parametrize("external", [False, True])
def test_usage_is_counted_once_wherever_the_stream_reports_it(
    workspace: LocalWorkspace, external: bool
) -> None:
    workspace.add_endpoint(
        "m", lambda messages, **p: "one two three four", kind="chat", external=external
    )
    chat = ChatDatabricks(model="m")
    whole = None
    chunks = list(chat.stream("hi"))
    for chunk in chunks:
        whole = chunk if whole is None else whole + chunk
    assert len(chunks) > 2
    assert whole.text == "one two three four"
    assert whole.usage_metadata == chat.invoke("hi").usage_metadata
    assert whole.response_metadata["finish_reason"] == "stop"
    assert whole.response_metadata["model_name"] == "m"


def test_a_cut_stream_raises_with_the_text_so_far(my_chat: LocalWorkspace) -> None:
    my_chat.cut_stream("my-chat", after=2)
    received = []
    with pytest.raises(errors.StreamInterruptedError) as raised:
        received.extend(c.text for c in ChatDatabricks(model="my-chat", max_retries=0).stream("hi"))
    assert received
    assert raised.value.partial_text == "".join(received)


def test_a_stream_that_fails_before_its_first_chunk_is_retried(
    my_chat: LocalWorkspace,
) -> None:
    my_chat.fail("my-chat", status=503, times=1)
    text = "".join(c.text for c in ChatDatabricks(model="my-chat").stream("hi"))
    assert text == "one two three four"


def test_tool_calls_are_decoded(workspace: LocalWorkspace) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    bad = {"id": "c2", "type": "function", "function": {"name": "add", "arguments": "{oops"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call, bad]}
    workspace.add_endpoint("m", lambda messages: message, kind="chat")
    answer = ChatDatabricks(model="m").invoke("hi")
    assert answer.tool_calls == [{"name": "add", "args": {"a": 1}, "id": "c1", "type": "tool_call"}]
    assert answer.invalid_tool_calls[0]["args"] == "{oops"


def test_hooks_change_request_and_response(my_chat: LocalWorkspace) -> None:
    chat = ChatDatabricks(
        model="my-chat",
        transform_input_fn=lambda **request: {**request, "max_tokens": 3},
        transform_output_fn=lambda response: response["choices"][0]["message"]["content"].upper(),
    )
    assert chat.invoke("hi").text == "ONE TWO THREE FOUR"
    assert my_chat.requests[-1].body["max_tokens"] == 3
    assert "".join(c.text for c in chat.stream("hi")) == "ONE TWO THREE FOUR"


def test_a_message_type_without_a_role_is_rejected(my_chat: LocalWorkspace) -> None:
    from langchain_core.messages import RemoveMessage

    with pytest.raises(errors.InvalidRequestError, match="RemoveMessage"):
        ChatDatabricks(model="my-chat").invoke([RemoveMessage(id="1")])


@pytest.mark.parametrize("call", CALLS)
def test_names_are_sent_until_the_endpoint_rejects_them(
    workspace: LocalWorkspace, call: str
) -> None:
    workspace.add_endpoint("internal", lambda messages, **p: "ok", kind="chat")
    workspace.add_endpoint("external", lambda messages, **p: "ok", kind="chat", external=True)
    prompt = [HumanMessage("hi", name="ada"), AIMessage("yes?", name="bob"), HumanMessage("go")]
    named = ["ada", "bob", None]
    for endpoint, expected in (
        ("external", [named, named]),
        ("internal", [named, [None] * 3, [None] * 3]),
    ):
        before = len(workspace.requests)
        chat = ChatDatabricks(model=endpoint)
        call_model(chat, call, prompt)
        call_model(chat, call, prompt)
        bodies = [request.body for request in workspace.requests[before:]]
        assert [[m.get("name") for m in body["messages"]] for body in bodies] == expected
    assert prompt[0].name == "ada"


def test_a_named_agent_answers_a_second_turn(workspace: LocalWorkspace) -> None:
    workspace.add_endpoint("m", lambda messages, **p: f"{len(messages)}", kind="chat")
    agent = create_agent(ChatDatabricks(model="m"), [], name="researcher")
    first = agent.invoke({"messages": [HumanMessage("hi")]})
    assert first["messages"][-1].name == "researcher"
    second = agent.invoke({"messages": [*first["messages"], HumanMessage("go on")]})
    assert second["messages"][-1].text == "3"


@pytest.mark.parametrize("include_raw", [False, True])
def test_json_mode_needs_no_schema(workspace: LocalWorkspace, include_raw: bool) -> None:
    workspace.add_endpoint("m", lambda messages, **p: '{"a": 1}', kind="chat")
    chat = ChatDatabricks(model="m")
    structured = chat.with_structured_output(None, method="json_mode", include_raw=include_raw)
    answer = structured.invoke("hi")
    assert (answer["parsed"] if include_raw else answer) == {"a": 1}
    assert workspace.requests[-1].body["response_format"] == {"type": "json_object"}


@pytest.mark.parametrize(
    "answer", [{"choices": []}, {"choices": [{}]}, {"choices": "none"}, {"choices": [None]}]
)
def test_a_response_of_another_shape_raises_a_typed_error(
    workspace: LocalWorkspace, answer: dict
) -> None:
    workspace.add_endpoint("m", lambda messages: answer, kind="chat")
    with pytest.raises(errors.InvalidResponseError, match="'m'"):
        ChatDatabricks(model="m").invoke("hi")


OVERFLOW = {"error_code": "BAD_REQUEST", "message": "prompt is too long: 9000 > 8000 tokens"}


@pytest.mark.parametrize("call", ["stream", "astream"])
def test_a_stream_that_fails_without_the_usage_option_too_keeps_the_option(call: str) -> None:
    def reject_long_prompts(received: Received) -> Any:
        if len(received.body["messages"][0]["content"]) > 100:
            return Answer(OVERFLOW, 400)
        return Pieces(events(chat_chunk("ok"), chat_chunk(end="stop")))

    with LoopbackServer(reject_long_prompts) as server:
        chat = ChatDatabricks(model="m", max_retries=0, **server.login)
        with pytest.raises(errors.ContextOverflowError):
            call_model(chat, call, "a long prompt" * 100)
        call_model(chat, call, "a short one")
        assert ["stream_options" in body for body in server.bodies] == [True, False, True]


def test_profile_is_the_login_profile() -> None:
    assert ChatDatabricks(model="m", profile="staging").profile_name == "staging"
    assert ChatDatabricks(model="m", profile="staging").profile is None


def test_a_model_profile_is_rejected_as_profile_with_the_right_argument() -> None:
    with pytest.raises(errors.ConfigurationError, match="model_profile="):
        ChatDatabricks(model="m", profile={"max_input_tokens": 8000})


def test_langchain_reads_the_model_profile_of_a_model_and_of_its_copies() -> None:
    chat = ChatDatabricks(model="m", model_profile={"max_input_tokens": 8000})
    assert chat.profile == {"max_input_tokens": 8000}
    fields = {name: getattr(chat, name) for name in type(chat).model_fields}
    assert ChatDatabricks(**fields).profile == {"max_input_tokens": 8000}
