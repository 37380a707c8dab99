"""Regression tests for defects measured in `databricks_langchain.ChatDatabricks` 0.22.

The numbers D1 to D28 are those of the project's research on the peers.
"""

from __future__ import annotations

import asyncio
import copy
import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core import exceptions as core
from langchain_core.caches import InMemoryCache
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel

from langchain_dbx_eval import ChatDatabricks, errors
from langchain_dbx_eval.testing import LocalWorkspace
from tests.loopback import (
    CALLS,
    TOKEN,
    Answer,
    LoopbackServer,
    Pieces,
    Received,
    RequireConcurrency,
    call_model,
    chat_answer,
    chat_chunk,
    events,
)

USAGE = {"prompt_tokens": 6, "completion_tokens": 10, "total_tokens": 16}


def chat_at(server: LoopbackServer, **arguments: Any) -> ChatDatabricks:
    return ChatDatabricks(**{"model": "m", "max_retries": 0, **server.login, **arguments})


@pytest.fixture
def server() -> Iterator[LoopbackServer]:
    """Answers "ok", complete or as a stream."""
    with LoopbackServer(ok) as running:
        yield running


def ok(received: Received) -> Any:
    if received.body.get("stream"):
        return Pieces(events(chat_chunk("o", model="x"), chat_chunk("k", end="stop", model="x")))
    return chat_answer("ok", model="x")


def streamed(chat: ChatDatabricks, **kwargs: Any) -> AIMessageChunk:
    first, *others = chat.stream("hi", **kwargs)
    return first + others  # type: ignore[operator]


def so_far(completion_tokens: int) -> dict[str, int]:
    return {**USAGE, "completion_tokens": completion_tokens, "total_tokens": 6 + completion_tokens}


USAGE_DIALECTS = {
    "cumulative": events(
        *(chat_chunk("x", usage=so_far(n)) for n in range(1, 10)),
        chat_chunk(end="stop", usage=USAGE),
    ),
    "twice": events(chat_chunk("x", usage=USAGE), chat_chunk(end="stop", usage=USAGE)),
    "last": events(
        chat_chunk("x", usage=None), chat_chunk(end="stop"), {"choices": [], "usage": USAGE}
    ),
}


@pytest.mark.parametrize("dialect", USAGE_DIALECTS)
def test_d01_usage_is_counted_once(dialect: str) -> None:
    with LoopbackServer(lambda _: Pieces(USAGE_DIALECTS[dialect])) as server:
        usage = streamed(chat_at(server)).usage_metadata
    assert usage == {"input_tokens": 6, "output_tokens": 10, "total_tokens": 16}


def test_d02_usage_is_requested(server: LoopbackServer) -> None:
    streamed(chat_at(server))
    streamed(chat_at(server, stream_usage=False))
    streamed(chat_at(server), stream_usage=False)
    options = [body.get("stream_options") for body in server.bodies]
    assert options == [{"include_usage": True}, None, None]


@pytest.mark.parametrize("call", ["stream", "astream"])
def test_d02_a_rejected_usage_option_is_not_sent_again(call: str) -> None:
    def reject_option(received: Received) -> Any:
        if "stream_options" in received.body:
            return Answer({"error_code": "BAD_REQUEST", "message": "unknown field"}, 400)
        return ok(received)

    with LoopbackServer(reject_option) as server:
        chat = chat_at(server)
        for _ in range(2):
            assert "".join(chunk.text for chunk in call_model(chat, call)) == "ok"
        assert ["stream_options" in body for body in server.bodies] == [True, False, False]


BY_CONSTRUCTOR = {"temperature": 0.5, "max_tokens": 10, "n": 3, "stop": ["CTOR"]}
BY_CALL = {"temperature": 0.0, "max_tokens": 99, "n": 1, "stop": ["CALL"]}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("bound", [False, True])
def test_d03_parameters_of_a_call_take_precedence_over_the_constructor(
    server: LoopbackServer, call: str, bound: bool
) -> None:
    chat = chat_at(server, **BY_CONSTRUCTOR)
    if bound:
        call_model(chat.bind(**BY_CALL), call)
    else:
        call_model(chat, call, **BY_CALL)
    assert server.bodies[0].items() >= BY_CALL.items()


def test_d03_parameters_of_a_call_take_precedence_over_extra_params(server: LoopbackServer) -> None:
    chat_at(server, extra_params=BY_CONSTRUCTOR).invoke("hi", **BY_CALL)
    assert server.bodies[0].items() >= BY_CALL.items()


def test_d03_an_empty_stop_is_no_stop(server: LoopbackServer) -> None:
    chat_at(server, stop=["CTOR"]).invoke("hi", stop=[])
    assert "stop" not in server.bodies[0]


MIDSTREAM = {
    "databricks": {"error_code": "INTERNAL_ERROR", "message": "out of memory"},
    "openai": {"error": {"message": "out of memory", "type": "server_error"}},
    "external": {
        "external_model_provider": "anthropic",
        "external_model_error": {"error": {"message": "out of memory"}},
    },
}


@pytest.mark.parametrize("dialect", MIDSTREAM)
def test_d04_an_error_event_is_raised_with_the_text_so_far(dialect: str) -> None:
    sent = events(chat_chunk("so "), chat_chunk("far"), MIDSTREAM[dialect])
    with (
        LoopbackServer(lambda _: Pieces(sent)) as server,
        pytest.raises(errors.StreamInterruptedError, match="out of memory") as raised,
    ):
        streamed(chat_at(server))
    assert raised.value.partial_text == "so far"


@pytest.mark.parametrize("cut", [False, True], ids=["ended", "hung-up"])
@pytest.mark.parametrize("call", ["stream", "astream"])
def test_d05_a_stream_without_a_finish_reason_raises_with_the_text_so_far(
    cut: bool, call: str
) -> None:
    sent = events(chat_chunk("so "), chat_chunk("far"), done=False)
    with (
        LoopbackServer(lambda _: Pieces(sent, cut=cut)) as server,
        pytest.raises(errors.StreamInterruptedError) as raised,
    ):
        call_model(chat_at(server), call)
    assert raised.value.partial_text == "so far"


LOGPROBS = {"content": [{"token": "o", "logprob": -0.1, "bytes": None, "top_logprobs": []}]}


def test_d06_log_probabilities_are_decoded_in_answers_and_streams() -> None:
    def answer(received: Received) -> Any:
        choice = {"index": 0, "finish_reason": "stop", "logprobs": LOGPROBS}
        message = {"role": "assistant", "content": "o"}
        if received.body.get("stream"):
            return Pieces(events({"choices": [{**choice, "delta": message}]}))
        return {"choices": [{**choice, "message": message}]}

    with LoopbackServer(answer) as server:
        chat = chat_at(server)
        assert chat.invoke("hi", logprobs=True).response_metadata["logprobs"] == LOGPROBS
        assert streamed(chat, logprobs=True).response_metadata["logprobs"] == LOGPROBS


REASONED = [
    {
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": "Hm.", "signature": "sig"}],
    },
    {"type": "text", "text": "42"},
]


def test_d07_reasoning_is_not_text_and_is_sent_back_with_its_signature() -> None:
    def answer(received: Received) -> Any:
        if received.body.get("stream"):
            thought, text = ([block] for block in REASONED)
            return Pieces(events(chat_chunk(thought), chat_chunk(text), chat_chunk(end="stop")))
        return chat_answer(REASONED)

    with LoopbackServer(answer) as server:
        chat = chat_at(server)
        for message in (chat.invoke("hi"), streamed(chat)):
            assert message.text == "42"
            assert [block["type"] for block in message.content_blocks] == ["reasoning", "text"]
            chat.invoke([HumanMessage("hi"), AIMessage(content=message.content), HumanMessage("?")])
            assert server.bodies[-1]["messages"][1]["content"] == REASONED


def test_d08_a_stream_has_the_model_name_once(server: LoopbackServer) -> None:
    chunks = list(chat_at(server).stream("hi"))
    named = [c for c in chunks if "model_name" in c.response_metadata]
    assert [c.response_metadata["model_name"] for c in named] == ["x"]


class Answered(BaseModel):
    """An answer."""

    number: int


@pytest.mark.parametrize("method", ["function_calling", "json_mode", "json_schema"])
@pytest.mark.parametrize("strict", [True, None])
def test_d09_structured_output_passes_strict_and_informs_tracers(
    method: Any, strict: bool | None
) -> None:
    def answer(received: Received) -> Any:
        arguments = '{"number": 42}'
        if not received.body.get("tools"):
            return chat_answer(arguments)
        function = {"name": "Answered", "arguments": arguments}
        return chat_answer_with_call({"id": "c", "type": "function", "function": function})

    with LoopbackServer(answer) as server:
        structured = chat_at(server).with_structured_output(Answered, method=method, strict=strict)
        assert structured.invoke("hi") == Answered(number=42)
        body = server.bodies[0]
    traced = structured.first.kwargs["ls_structured_output_format"]  # type: ignore[attr-defined]
    assert traced["kwargs"]["method"] == method
    assert "ls_structured_output_format" not in body
    if method != "json_mode":
        described = (
            body["tools"][0]["function"]
            if method == "function_calling"
            else body["response_format"]["json_schema"]
        )
        default = True if method == "json_schema" else None
        assert described.get("strict") is (strict or default)


def chat_answer_with_call(call: dict[str, Any]) -> dict[str, Any]:
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    return {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}


CALL = {"name": "add", "args": {"a": 1}, "id": "c-1"}


@pytest.mark.parametrize(
    "block",
    [
        {"type": "tool_call", **CALL},
        {"type": "tool_use", "name": "add", "input": {"a": 1}, "id": "c-1"},
    ],
    ids=["standard", "anthropic"],
)
def test_d10_a_call_is_sent_as_a_call_and_never_as_content(
    server: LoopbackServer, block: dict[str, Any]
) -> None:
    message = AIMessage(content=[{"type": "text", "text": "So."}, block], tool_calls=[CALL])
    chat_at(server).invoke([HumanMessage("hi"), message, ToolMessage("2", tool_call_id="c-1")])
    sent = server.bodies[0]["messages"][1]
    assert sent["content"] == "So."
    assert [call["id"] for call in sent["tool_calls"]] == ["c-1"]


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image", "base64": "AAAA", "mime_type": "image/png"},
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"},
        },
    ],
    ids=["standard", "anthropic"],
)
def test_d10_an_image_is_sent_in_openais_format(
    server: LoopbackServer, block: dict[str, Any]
) -> None:
    chat_at(server).invoke([HumanMessage(content=[block])])
    [part] = server.bodies[0]["messages"][0]["content"]
    assert part == {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


@pytest.mark.parametrize("login", ["argument", "environment"])
def test_d11_workspaces_do_not_share_a_cache(login: str) -> None:
    cache = InMemoryCache()

    def answer_of(server: LoopbackServer) -> str:
        if login == "argument":
            return chat_at(server, cache=cache).invoke("hi").text
        os.environ.update(DATABRICKS_HOST=server.url, DATABRICKS_TOKEN=TOKEN)
        return ChatDatabricks(model="m", cache=cache).invoke("hi").text

    with (
        LoopbackServer(lambda _: chat_answer("one")) as one,
        LoopbackServer(lambda _: chat_answer("two")) as two,
    ):
        assert [answer_of(one), answer_of(two), answer_of(one)] == ["one", "two", "one"]
        assert (len(one.requests), len(two.requests)) == (1, 1)


def test_d11_api_styles_do_not_share_a_cache() -> None:
    keys = {
        ChatDatabricks(model="m", host="w.example", use_responses_api=api)._get_llm_string()
        for api in (True, False)
    }
    assert len(keys) == 2


def test_d12_one_model_serves_one_event_loop_after_another(server: LoopbackServer) -> None:
    chat = chat_at(server)
    for _ in range(3):
        assert len(asyncio.run(chat.abatch(["hi"] * 64))) == 64
        assert asyncio.run(chat.ainvoke("hi")).text == "ok"


class SlowConfig:
    """A login that returns only after the event loop has run a callback."""

    auth_type = "oauth-m2m"

    def __init__(self, host: str) -> None:
        self.host = host
        self.loop_ran = threading.Event()
        self.headers = {"Authorization": f"Bearer {TOKEN}"}

    def authenticate(self) -> dict[str, str]:
        assert self.loop_ran.wait(60), "the login blocks the event loop"
        return self.headers


class Client:
    """The part of a `WorkspaceClient` that is used."""

    def __init__(self, config: SlowConfig) -> None:
        self.config = config


def test_d13_a_slow_login_does_not_block_the_event_loop(server: LoopbackServer) -> None:
    config = SlowConfig(server.url)
    chat = ChatDatabricks(model="m", workspace_client=Client(config))

    async def five_calls() -> list[AIMessage]:
        asyncio.get_running_loop().call_later(0.05, config.loop_ran.set)
        return await asyncio.gather(*(chat.ainvoke("hi") for _ in range(5)))

    assert len(asyncio.run(five_calls())) == 5


AZURE = {
    "Authorization": "Bearer t",
    "X-Databricks-Azure-SP-Management-Token": "management",
    "X-Databricks-Azure-Workspace-Resource-Id": "/subscriptions/1",
}


@pytest.mark.parametrize("call", CALLS)
def test_d14_all_headers_of_a_login_are_sent(server: LoopbackServer, call: str) -> None:
    config = SlowConfig(server.url)
    config.loop_ran.set()
    config.headers = AZURE
    chat = ChatDatabricks(model="m", workspace_client=Client(config))
    call_model(chat, call)
    assert server.requests[0].headers.items() >= AZURE.items()


def test_d15_120_calls_run_concurrently() -> None:
    async def gathered(chat: ChatDatabricks) -> list[AIMessage]:
        return await asyncio.gather(*(chat.ainvoke("hi") for _ in range(120)))

    with LoopbackServer(RequireConcurrency(120, ok)) as server:
        assert len(asyncio.run(gathered(chat_at(server)))) == 120
        assert len(set(server.connections)) == 120


@pytest.mark.parametrize(
    ("name", "base_url"),
    [
        ("use_ai_gateway", "/ai-gateway/mlflow/v1"),
        ("use_ai_gateway_native_api", "/ai-gateway/openai/v1"),
    ],
)
def test_the_error_for_a_gateway_argument_has_the_base_url(name: str, base_url: str) -> None:
    with pytest.raises(errors.ConfigurationError, match=f'Use base_url="{base_url}"'):
        ChatDatabricks(model="m", **{name: True})


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("top_p", None),
        ("topp", "top_p"),
        ("seed", None),
        ("reasoning_effort", None),
        ("logprobs", None),
        ("temprature", "temperature"),
        ("max_token", "max_tokens"),
        ("endpoint_name", "endpoint"),
    ],
)
def test_d16_an_unknown_argument_is_rejected(name: str, near: str | None) -> None:
    message = f"no argument '{name}'.*" + (f"Did you mean '{near}'" if near else "extra_params=")
    with pytest.raises(errors.ConfigurationError, match=message) as raised:
        ChatDatabricks(model="m", **{name: 1})
    assert ("Did you mean" in str(raised.value)) == (near is not None)


def test_d16_extra_params_and_parameters_of_a_call_are_sent(server: LoopbackServer) -> None:
    chat_at(server, extra_params={"top_p": 0.1}, streaming=True).invoke("hi", seed=7)
    body = server.bodies[0]
    assert (body["top_p"], body["seed"], body["stream"]) == (0.1, 7, True)


@pytest.mark.parametrize(
    "body",
    [
        {"error_code": "BAD_REQUEST", "message": "no such model"},
        {"error": {"message": "no such model"}},
        {"choices": None, "error": "no such model"},
    ],
)
def test_d17_an_error_with_status_200_is_raised(body: dict[str, Any]) -> None:
    with (
        LoopbackServer(lambda _: body) as server,
        pytest.raises(errors.InvalidResponseError, match=r"endpoint 'm'.*no such model"),
    ):
        chat_at(server).invoke("hi")


@pytest.mark.parametrize("call", CALLS)
def test_d18_stream_usage_is_an_option_of_every_call(server: LoopbackServer, call: str) -> None:
    call_model(chat_at(server), call, stream_usage=True)
    assert "stream_usage" not in server.bodies[0]


def test_d19_custom_inputs_leave_other_parameters_alone(server: LoopbackServer) -> None:
    chat = chat_at(server, extra_params={"databricks_options": {"return_trace": True}})
    chat.invoke("hi", custom_inputs={"user": "u"}, client_request_id="r-1")
    expected = {
        "custom_inputs": {"user": "u"},
        "client_request_id": "r-1",
        "databricks_options": {"return_trace": True},
    }
    assert server.bodies[0].items() >= expected.items()


def test_d20_the_first_of_several_streamed_choices_is_the_message() -> None:
    def chunk(index: int, text: str, end: str | None = None) -> dict[str, Any]:
        choice = {"index": index, "delta": {"content": text}, "finish_reason": end}
        return {"choices": [choice]}

    sent = events(
        chunk(1, "x"), chunk(0, "a"), chunk(1, "y", "stop"), chunk(0, "b"), chunk(0, "c", "stop")
    )
    with LoopbackServer(lambda _: Pieces(sent)) as server:
        assert streamed(chat_at(server, n=2)).text == "abc"


def test_d21_usage_of_several_answers_sums_to_what_was_used() -> None:
    choices = [
        {"index": i, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}
        for i in range(3)
    ]
    with LoopbackServer(lambda _: {"choices": choices, "usage": USAGE}) as server:
        result = chat_at(server, n=3).generate([[HumanMessage("hi")]])
    used = [g.message.usage_metadata for g in result.generations[0]]  # type: ignore[union-attr]
    assert sum(u["total_tokens"] for u in used if u) == 16


def test_d22_arguments_are_not_modified(server: LoopbackServer) -> None:
    function = {"name": "add", "parameters": {"type": "object", "properties": {}}, "strict": True}
    tools = [{"type": "function", "function": function}]
    block = {"type": "text", "text": "hi", "status": "completed", "id": "i" * 100}
    params = {"top_p": 0.1}
    messages = [
        HumanMessage(content=[block]),
        AIMessage(content=[{"type": "reasoning", "summary": []}], tool_calls=[CALL]),
        ToolMessage(content=[block], tool_call_id="c-1", status="error"),
    ]
    before = copy.deepcopy((tools, messages, params))
    chat_at(server, extra_params=params).bind_tools(tools, strict=False).invoke(messages)
    assert (tools, messages, params) == before


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, copy.copy, lambda c: pickle.loads(pickle.dumps(c))]
)
def test_d25_a_used_model_can_be_copied(server: LoopbackServer, copied: Any) -> None:
    os.environ["DATABRICKS_TOKEN"] = TOKEN  # a pickle has none
    chat = chat_at(server)
    chat.invoke("hi")
    asyncio.run(chat.ainvoke("hi"))
    assert copied(chat).invoke("hi").text == "ok"


FAILED = {"id": "r", "status": "failed", "error": {"code": "server_error", "message": "no memory"}}


def test_d23_a_failed_response_is_an_error() -> None:
    with (
        LoopbackServer(lambda _: Answer(FAILED)) as server,
        pytest.raises(errors.DatabricksError, match="no memory"),
    ):
        chat_at(server, use_responses_api=True).invoke("hi")


def test_d23_a_streamed_response_that_fails_keeps_the_text_so_far() -> None:
    first = {"type": "response.output_text.delta", "item_id": "i", "output_index": 0, "delta": "so"}
    first |= {"content_index": 0, "sequence_number": 1}
    sent = [first, {"type": "response.failed", "sequence_number": 2, "response": FAILED}]
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in sent)
    with (
        LoopbackServer(lambda _: Pieces([body.encode()])) as server,
        pytest.raises(errors.StreamInterruptedError, match="no memory") as raised,
    ):
        list(chat_at(server, use_responses_api=True).stream("hi"))
    assert raised.value.partial_text == "so"


def test_d23_max_tokens_and_images_reach_the_responses_api(workspace: LocalWorkspace) -> None:
    workspace.add_endpoint("agent", lambda items, **params: "ok", kind="responses")
    picture = {"type": "image", "url": "https://example.com/cat.png"}
    chat = ChatDatabricks(model="agent", use_responses_api=True, max_tokens=7)
    answer = chat.invoke([HumanMessage([picture])])
    body = workspace.requests[-1].body
    assert body["max_output_tokens"] == 7
    assert body["input"][0]["content"][0]["type"] == "input_image"
    assert answer.response_metadata["model_name"]


def test_d24_a_chat_agents_text_and_calls_are_a_message() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    message = {"role": "assistant", "content": "Adding.", "id": "1", "tool_calls": [call]}
    with LoopbackServer(lambda _: Answer({"messages": [message]})) as server:
        answer = chat_at(server).invoke("hi")
    assert answer.text == "Adding."
    assert [call["name"] for call in answer.tool_calls] == ["add"]


def test_d25_a_copy_uses_its_updated_fields() -> None:
    failures = iter([Answer(status=503, headers={"Retry-After": "0"})] * 2)

    def flaky(_: Received) -> Any:
        return next(failures, chat_answer("ok"))

    with LoopbackServer(flaky) as server:
        chat = chat_at(server, max_retries=0)
        with pytest.raises(errors.ServerError):
            chat.invoke("hi")
        assert chat.model_copy(update={"max_retries": 7}).invoke("hi").text == "ok"


@tool
def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        (True, "required"),
        ("any", "required"),
        ("required", "required"),
        ("auto", "auto"),
        ("none", "none"),
        ("add", {"type": "function", "function": {"name": "add"}}),
        (False, None),
        (None, None),
    ],
)
def test_d26_every_tool_choice_is_supported(server: LoopbackServer, choice: Any, sent: Any) -> None:
    chat_at(server).bind_tools([add], tool_choice=choice).invoke("hi")
    assert server.bodies[0].get("tool_choice") == sent


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, core.ModelInvalidRequestError),
        (401, core.ModelAuthenticationError),
        (403, core.ModelPermissionDeniedError),
        (404, core.ModelNotFoundError),
        (429, core.ModelRateLimitError),
        (500, core.ModelAPIError),
    ],
)
@pytest.mark.parametrize("call", CALLS)
def test_d27_each_error_has_langchains_base_class(status: int, kind: type, call: str) -> None:
    refused = Answer({"message": "no"}, status)
    with LoopbackServer(lambda _: refused) as server, pytest.raises(kind) as raised:
        call_model(chat_at(server), call)
    assert raised.value.is_retryable is (status == 429)


def test_d27_a_prompt_beyond_the_context_is_a_context_overflow() -> None:
    body = {"error_code": "BAD_REQUEST", "message": "context_length_exceeded: 9 > 8 tokens"}
    with (
        LoopbackServer(lambda _: Answer(body, 400)) as server,
        pytest.raises(core.ContextOverflowError),
    ):
        chat_at(server).invoke("hi")


def test_d28_a_first_call_sends_one_request(workspace: LocalWorkspace) -> None:
    workspace.add_endpoint("m", lambda messages: "ok", kind="chat")
    ChatDatabricks(model="m").invoke("hi")
    assert [r.path for r in workspace.requests] == ["/serving-endpoints/m/invocations"]


def test_d28_a_token_needs_no_sdk(server: LoopbackServer) -> None:
    code = (
        "import sys; from langchain_dbx_eval import ChatDatabricks;"
        "print(ChatDatabricks(model='m').invoke('hi').text, 'databricks.sdk' in sys.modules)"
    )
    environment = {**os.environ, "DATABRICKS_HOST": server.url, "DATABRICKS_TOKEN": TOKEN}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["ok", "False"]
