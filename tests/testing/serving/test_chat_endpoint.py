import json

import openai
import pytest

from langchain_dbx_eval.driver.engines.base import Generation, GenerationRequest

QUESTION = {"messages": [{"role": "user", "content": "how are you"}]}
STREAM = {**QUESTION, "stream": True}
CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Paris", "unit": "C"}'},
}


def events(response) -> list:
    assert response.headers["Content-Type"].startswith("text/event-stream")
    lines = [line for line in response.iter_lines() if line]
    assert lines[-1] == b"data: [DONE]"
    return [json.loads(line.removeprefix(b"data: ")) for line in lines[:-1]]


def deltas(chunks: list, index: int = 0) -> list:
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    return [choice["delta"] for choice in choices if choice["index"] == index]


@pytest.fixture(autouse=True)
def endpoints(workspace):
    def reply(messages, **params):
        return "I am  fine. And you?"

    workspace.add_endpoint("chat", reply, kind="chat")
    workspace.add_endpoint("external", reply, kind="chat", external=True)
    workspace.add_endpoint(
        "tools", lambda messages, **params: {"content": None, "tool_calls": [CALL]}, kind="chat"
    )


def test_a_text_becomes_the_message_of_the_assistant(session):
    completion = session.query("chat", QUESTION).json()

    message = {"role": "assistant", "content": "I am  fine. And you?"}
    assert completion["choices"] == [{"index": 0, "message": message, "finish_reason": "stop"}]
    assert (completion["object"], completion["model"]) == ("chat.completion", "chat")


def test_usage_counts_words(session):
    usage = session.query("chat", QUESTION).json()["usage"]

    assert usage == {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}


def test_the_function_is_given_messages_and_parameters(workspace, session):
    received = []
    workspace.add_endpoint(
        "spy", lambda *args, **params: received.append((args, params)) or "", kind="chat"
    )

    session.query("spy", {**QUESTION, "model": "m", "n": 1, "temperature": 0.1, "stop": "."})

    assert received == [((QUESTION["messages"],), {"temperature": 0.1, "stop": ["."]})]


def test_a_dictionary_is_the_message(session):
    [choice] = session.query("tools", QUESTION).json()["choices"]

    assert choice["message"] == {"role": "assistant", "content": None, "tool_calls": [CALL]}
    assert choice["finish_reason"] == "tool_calls"


def test_a_complete_chat_completion_is_sent_unchanged(workspace, session):
    whole = {"id": "x", "choices": [{"index": 0, "message": {"content": "hi"}}], "extra": 1}
    workspace.add_endpoint("whole", lambda messages: whole, kind="chat")

    assert session.query("whole", QUESTION).json() == whole


def test_an_engine_receives_the_last_message_of_the_user(workspace, session):
    class Echo:
        parameters = frozenset({"max_tokens"})

        def generate(self, request: GenerationRequest) -> Generation:
            return Generation(f"echo {request.prompt}", "length", 70, 20)

    workspace.add_endpoint("engine", Echo(), kind="chat")
    blocks = [{"type": "text", "text": "second"}]
    conversation = [("user", "first"), ("assistant", "ok"), ("user", blocks), ("system", "last")]
    messages = [{"role": role, "content": content} for role, content in conversation]

    completion = session.query("engine", {"messages": messages, "max_tokens": 3}).json()

    [choice] = completion["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("echo second", "length")
    assert completion["usage"]["total_tokens"] == 90


@pytest.mark.parametrize("stop", ["And", ["you", "And", "nothing"]])
def test_the_text_ends_before_the_first_stop_string(session, stop):
    [choice] = session.query("chat", {**QUESTION, "stop": stop}).json()["choices"]

    assert choice["message"]["content"] == "I am  fine. "


def test_stop_truncates_the_text_of_a_function_without_a_stop_parameter(workspace, session):
    workspace.add_endpoint("plain", lambda messages: {"content": "one two"}, kind="chat")

    completion = session.query("plain", {**QUESTION, "stop": ["two"]}).json()

    assert completion["choices"][0]["message"]["content"] == "one "
    assert completion["usage"]["completion_tokens"] == 1


def test_n_choices_are_n_calls_of_the_function(workspace, session):
    replies = iter(["a", "b", "c"])
    workspace.add_endpoint("many", lambda messages: next(replies), kind="chat")

    completion = session.query("many", {**QUESTION, "n": 3}).json()

    assert [choice["index"] for choice in completion["choices"]] == [0, 1, 2]
    assert [choice["message"]["content"] for choice in completion["choices"]] == ["a", "b", "c"]
    assert completion["usage"] == {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}


def test_only_an_external_model_rejects_a_null_stop(session):
    body = {**QUESTION, "stop": None}

    statuses = [session.query(name, body).status_code for name in ("external", "chat")]

    assert statuses == [400, 200]


@pytest.mark.parametrize(
    "change",
    [
        {"messages": []},
        {"messages": "hello"},
        {"messages": [{"content": "no role"}]},
        {"messages": [{"role": "user", "content": 5}]},
        {"messages": [{"role": "user", "content": ["no block"]}]},
        {"stop": [""]},
        {"stop": 5},
        {"n": 0},
        {"stream_options": [1]},
    ],
)
def test_a_value_that_is_not_allowed_is_400_invalid_parameter(session, change):
    answer = session.query("chat", {**QUESTION, **change})

    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


@pytest.mark.parametrize("field", ["prompt", "inputs", "dataframe_records"])
def test_the_input_field_of_another_kind_is_an_unknown_field(session, field):
    answer = session.query("chat", {field: "hello"})

    assert answer.status_code == 400
    assert answer.json()["message"] == f'Bad request: json: unknown field "{field}"'


def test_the_error_for_a_missing_input_names_the_field(session):
    assert "'messages'" in session.query("chat", {}).json()["message"]


def test_a_parameter_that_the_function_does_not_accept_is_an_unknown_field(workspace, session):
    workspace.add_endpoint("strict", lambda messages, *, seed=0: "hi", kind="chat")

    answers = [session.query("strict", {**QUESTION, name: 1}) for name in ("top_k", "seed")]

    assert [answer.status_code for answer in answers] == [400, 200]
    assert 'unknown field "top_k"' in answers[0].json()["message"]


def test_a_parameter_named_like_the_functions_first_argument_is_an_unknown_field(
    workspace, session
):
    workspace.add_endpoint("named", lambda prompt, **params: "hi", kind="chat")

    assert session.query("named", {**QUESTION, "prompt": "x"}).status_code == 400


def test_a_function_that_returns_neither_text_nor_dictionary_is_500(workspace, session):
    workspace.add_endpoint("number", lambda messages: 5, kind="chat")

    assert session.query("number", QUESTION).status_code == 500


def test_a_stream_sends_the_text_word_by_word(session):
    chunks = events(session.query("chat", STREAM, stream=True))

    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert [delta.get("content") for delta in deltas(chunks)] == [
        "I ", "am  ", "fine. ", "And ", "you?", None,
    ]  # fmt: skip


def test_only_the_first_delta_has_a_role_and_only_the_last_choice_a_finish_reason(session):
    chunks = events(session.query("chat", STREAM, stream=True))

    assert ["role" in delta for delta in deltas(chunks)] == [True] + [False] * 5
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * 5 + ["stop"]


def test_an_empty_text_streams_a_role_and_an_end(workspace, session):
    workspace.add_endpoint("silent", lambda messages: "", kind="chat")

    chunks = events(session.query("silent", STREAM, stream=True))

    assert deltas(chunks) == [{"role": "assistant", "content": ""}, {}]


def test_a_foundation_model_reports_the_usage_so_far_in_every_event(session):
    chunks = events(session.query("chat", STREAM, stream=True))

    assert [chunk["usage"]["completion_tokens"] for chunk in chunks] == [1, 2, 3, 4, 5, 5]
    assert {chunk["usage"]["prompt_tokens"] for chunk in chunks} == {3}


def test_an_external_model_reports_usage_last_and_only_on_request(session):
    with_usage = {**STREAM, "stream_options": {"include_usage": True}}

    *before, last = events(session.query("external", with_usage, stream=True))
    without = events(session.query("external", STREAM, stream=True))

    assert (last["choices"], last["usage"]["total_tokens"]) == ([], 8)
    assert not any("usage" in chunk for chunk in [*before, *without])


def test_tool_calls_stream_in_fragments(session):
    chunks = events(session.query("tools", STREAM, stream=True))

    first, *rest = [d["tool_calls"][0] for d in deltas(chunks) if "tool_calls" in d]
    assert first["function"] == {"name": "weather", "arguments": ""}
    assert first["id"] == "call_1"
    assert len(rest) > 1
    arguments = "".join(part["function"]["arguments"] for part in rest)
    assert arguments == CALL["function"]["arguments"]
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_the_choices_of_a_stream_advance_together(workspace, session):
    replies = iter(["a b", "c d e"])
    workspace.add_endpoint("two", lambda messages: next(replies), kind="chat")

    chunks = events(session.query("two", {**STREAM, "n": 2}, stream=True))

    assert [chunk["choices"][0]["index"] for chunk in chunks] == [0, 1, 0, 1, 0, 1, 1]
    assert "".join(d.get("content", "") for d in deltas(chunks, 1)) == "c d e"


def test_the_stream_of_a_complete_chat_completion_has_its_id_and_usage(workspace, session):
    usage = {"prompt_tokens": 50, "completion_tokens": 40, "total_tokens": 90}
    choice = {"index": 0, "message": {"content": "a b"}, "finish_reason": "length"}
    whole = {"id": "own", "choices": [choice], "usage": usage}
    workspace.add_endpoint("whole", lambda messages: whole, kind="chat")

    chunks = events(session.query("whole", STREAM, stream=True))

    assert {chunk["id"] for chunk in chunks} == {"own"}
    assert chunks[-1]["usage"] == usage
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"


def test_the_openai_client_chats_and_streams(workspace):
    client = openai.OpenAI(
        base_url=f"{workspace.url}/serving-endpoints", api_key=workspace.token, max_retries=0
    )

    whole = client.chat.completions.create(model="chat", messages=QUESTION["messages"])
    parts = client.chat.completions.create(model="chat", messages=QUESTION["messages"], stream=True)

    text = whole.choices[0].message.content
    assert text == "I am  fine. And you?"
    assert "".join(part.choices[0].delta.content or "" for part in parts) == text


def test_the_openai_path_needs_a_model_of_the_right_kind(workspace, session):
    workspace.add_endpoint("vectors", lambda texts: [], kind="embeddings")

    statuses = [
        session.post("/serving-endpoints/chat/completions", json={**QUESTION, **model}).status_code
        for model in ({}, {"model": "vectors"}, {"model": "nope"})
    ]

    assert statuses == [400, 400, 404]
