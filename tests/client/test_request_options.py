"""`extra_body`, `extra_headers`, `extra_query` and a call's `timeout`, as in OpenAI's clients."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from langchain_dbx_eval import ChatDatabricks, Databricks, DatabricksEmbeddings, errors
from langchain_dbx_eval.testing import LocalWorkspace
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
from tests.polling import wait_until

OPTIONS = {
    "extra_body": {"guardrails": {"pii": True}},
    "extra_headers": {"X-Team": "search"},
    "extra_query": {"variant": "b", "dry": True, "tag": ["x", "y z"]},
}
EMBEDDING = {"data": [{"index": 0, "embedding": [1.0]}]}


def answer(received: Received) -> Any:
    if "input" in received.body:
        return EMBEDDING
    if received.body.get("stream"):
        return Pieces(events(chat_chunk("ok"), chat_chunk(end="stop")))
    if "messages" in received.body:
        return chat_answer()
    return {"choices": [{"index": 0, "text": "ok"}], "predictions": ["ok"]}


def assert_applied(received: Received) -> None:
    assert received.body["guardrails"] == {"pii": True}
    assert not received.body.keys() & {"extra_body", "extra_headers", "extra_query", "timeout"}
    assert received.headers["X-Team"] == "search"
    query = parse_qs(urlsplit(received.path).query)
    assert query == {"variant": ["b"], "dry": ["true"], "tag": ["x", "y z"]}


@pytest.mark.parametrize("call", CALLS)
def test_a_chat_model_applies_the_options_of_a_call(call: str) -> None:
    with LoopbackServer(answer) as server:
        call_model(ChatDatabricks(model="m", **server.login), call, **OPTIONS, timeout=30)
        assert_applied(server.requests[0])


@pytest.mark.parametrize("call", CALLS)
def test_a_chat_model_applies_the_options_of_its_extra_params(call: str) -> None:
    with LoopbackServer(answer) as server:
        call_model(ChatDatabricks(model="m", extra_params=OPTIONS, **server.login), call)
        assert_applied(server.requests[0])


@pytest.mark.parametrize("task", ["llm/v1/completions", "llm/v1/chat", "custom"])
@pytest.mark.parametrize("call", CALLS)
def test_a_text_model_applies_the_options_of_a_call(call: str, task: str) -> None:
    with LoopbackServer(answer) as server:
        call_model(Databricks(endpoint_name="m", task=task, **server.login), call, **OPTIONS)
        assert_applied(server.requests[0])


def test_a_text_model_applies_the_options_of_its_model_kwargs_to_many_prompts() -> None:
    with LoopbackServer(lambda _: {"choices": [{"text": "a"}, {"text": "b"}]}) as server:
        llm = Databricks(
            endpoint_name="m", task="llm/v1/completions", model_kwargs=OPTIONS, **server.login
        )
        assert llm.batch(["1", "2"]) == ["a", "b"]
        assert_applied(server.requests[0])


def test_embeddings_apply_the_options_of_their_params() -> None:
    with LoopbackServer(answer) as server:
        model = DatabricksEmbeddings(
            endpoint="m", query_params=OPTIONS, documents_params=OPTIONS, **server.login
        )
        model.embed_query("hi")
        model.embed_documents(["hi"])
        for received in server.requests:
            assert_applied(received)


def test_the_options_of_a_call_replace_those_of_the_constructor() -> None:
    with LoopbackServer(answer) as server:
        chat = ChatDatabricks(model="m", extra_params={"extra_body": {"a": 1}}, **server.login)
        chat.invoke("hi", extra_body={"b": 2})
        assert server.bodies[0].keys() == {"messages", "b"}


@pytest.mark.parametrize("call", ["invoke", "ainvoke"])
def test_a_header_replaces_ours_of_the_same_name_in_any_case(call: str) -> None:
    with LoopbackServer(answer) as server:
        chat = ChatDatabricks(model="m", **server.login)
        call_model(chat, call, extra_headers={"authorization": "Bearer of-the-user"})
        names = [name.lower() for name in server.requests[0].headers]
        assert names.count("authorization") == 1
        assert "Bearer of-the-user" in server.requests[0].headers.values()


@pytest.mark.parametrize("call", ["invoke", "ainvoke"])
def test_the_timeout_of_a_call_replaces_that_of_the_constructor(call: str) -> None:
    def answer_late(_: Received) -> Any:
        time.sleep(1)
        return chat_answer()

    with LoopbackServer(answer_late) as server:
        chat = ChatDatabricks(model="m", max_retries=0, **server.login)
        with pytest.raises(errors.RequestTimeoutError):
            call_model(chat, call, timeout=0.5)
        wait_until(lambda: server.bodies)
        assert "timeout" not in server.bodies[0]
        patient = ChatDatabricks(model="m", timeout=0.5, max_retries=0, **server.login)
        call_model(patient, call, timeout=30)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"extra_body": [1]}, r"extra_body= must be a dict"),
        ({"extra_headers": "X-Team: a"}, r"extra_headers= must be a dict"),
        ({"extra_headers": {"X-Team": 1}}, r"extra_headers\['X-Team'\] must be a string, not int"),
        ({"extra_headers": {"X-Team": "a\r\nX: b"}}, r"extra_headers\['X-Team'\]"),
        ({"extra_query": {"a": {}}}, r"extra_query\['a'\] must be text or a number"),
        ({"timeout": 0}, r"timeout= must be a positive number of seconds, not 0"),
        ({"timeout": "5"}, r"timeout= must be a positive number of seconds, not '5'"),
        ({"timeout": True}, r"timeout= must be a positive number of seconds, not True"),
    ],
)
def test_an_invalid_option_is_an_error_that_names_it(
    workspace: LocalWorkspace, options: dict[str, Any], message: str
) -> None:
    workspace.add_endpoint("m", lambda messages: "ok", kind="chat")
    with pytest.raises(errors.ConfigurationError, match=message):
        ChatDatabricks(model="m").invoke("hi", **options)
    assert workspace.requests == []


def test_an_endpoint_refuses_a_field_that_its_task_does_not_have(workspace: LocalWorkspace) -> None:
    workspace.add_endpoint("m", lambda messages, **params: "ok", kind="chat")
    with pytest.raises(errors.InvalidRequestError, match='unknown field "no_such_field"'):
        ChatDatabricks(model="m").invoke("hi", no_such_field=1)
    assert ChatDatabricks(model="m").invoke("hi", extra_body={"top_p": 0.5}).text == "ok"
