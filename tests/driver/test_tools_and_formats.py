"""Tools and response formats of a function, directly and as the upstream of another server."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest import mock

import pytest
from openai import BadRequestError, InternalServerError, OpenAI

from langchain_dbx_eval import ChatDatabricks
from langchain_dbx_eval.driver import Delta, DriverServer, Generation
from langchain_dbx_eval.driver.engines.transformers.engine import TransformersEngine

StartServer = Callable[..., DriverServer]
HI: list[Any] = [{"role": "user", "content": "hi"}]
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER: Any = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
CITY: Any = {"type": "json_schema", "json_schema": {"name": "City", "schema": SCHEMA}}
CALL = {"name": "weather", "args": {"city": "Seoul"}}


def agent(messages: Any, tools: Sequence[Any] = ()) -> Any:
    if messages[-1]["role"] == "tool":
        return f"It is {messages[-1]['content']}."
    return {"content": None, "tool_calls": [CALL]} if tools else "no tools"


def chat(client: OpenAI, **options: Any) -> Any:
    options = {"model": "m", "messages": HI, **options}
    return client.chat.completions.create(**options)


def test_a_function_calls_a_tool_and_receives_its_result(client: Callable[..., OpenAI]) -> None:
    model = client(agent)
    (choice,) = chat(model, tools=[WEATHER]).choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    (call,) = choice.message.tool_calls
    assert (call.type, call.function.name) == ("function", "weather")
    assert json.loads(call.function.arguments) == {"city": "Seoul"}
    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    history = [*HI, choice.message.model_dump(exclude_none=True), result]
    (choice,) = chat(model, messages=history, tools=[WEATHER]).choices
    assert choice.message.content == "It is sunny."
    assert chat(model).choices[0].message.content == "no tools"


@pytest.mark.parametrize(
    "parts",
    [
        [{"tool_calls": [{"function": {"name": "f", "arguments": '{"a": 1}'}}]}],
        [Generation("", tool_calls=({"name": "f", "args": {"a": 1}},), finish_reason="tool_calls")],
        [
            Delta(tool_calls=({"index": 0, "id": "1", "function": {"name": "f"}},)),
            Delta(tool_calls=({"index": 0, "function": {"arguments": '{"a": '}},)),
            Delta(tool_calls=({"index": 0, "function": {"arguments": "1}"}},)),
        ],
    ],
    ids=["message", "Generation", "Delta"],
)
def test_tool_calls_are_streamed(client: Callable[..., OpenAI], parts: list[Any]) -> None:
    def function(messages: Any, tools: Any = None) -> Iterator[Any]:
        yield "Let me see. "
        yield from parts

    chunks = list(chat(client(function), tools=[WEATHER], stream=True))
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert "".join(delta.content or "" for delta in deltas) == "Let me see. "
    calls = [call for delta in deltas for call in delta.tool_calls or ()]
    assert {call.index for call in calls} == {0}
    assert [call.id for call in calls if call.id]
    assert "".join(call.function.name or "" for call in calls) == "f"
    assert json.loads("".join(call.function.arguments or "" for call in calls)) == {"a": 1}
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_two_calls_of_a_stream_are_two_calls(client: Callable[..., OpenAI]) -> None:
    def function(messages: Any, tools: Any = None) -> Iterator[Any]:
        for city in ("Seoul", "Busan"):
            yield {"tool_calls": [{"name": "weather", "args": {"city": city}}]}

    model = client(function)
    chunks = list(chat(model, tools=[WEATHER], stream=True))
    streamed = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    whole = chat(model, tools=[WEATHER]).choices[0].message.tool_calls
    assert [call.index for call in streamed] == [0, 1]
    assert [json.loads(call.function.arguments)["city"] for call in whole] == ["Seoul", "Busan"]


def test_the_chat_model_of_this_package_binds_tools(start_server: StartServer) -> None:
    server = start_server(agent)
    model = ChatDatabricks(
        host="local", cluster_driver_port=str(server.port), path="v1/chat/completions"
    ).bind_tools([WEATHER])
    (call,) = model.invoke("weather?").tool_calls
    assert (call["name"], call["args"]) == ("weather", {"city": "Seoul"})


NAMED = {"type": "function", "function": {"name": "weather"}}
OTHER = {"type": "function", "function": {"name": "other"}}


@pytest.mark.parametrize("choice", ["auto", "required", NAMED])
def test_a_tool_choice_that_the_function_follows_is_accepted(
    client: Callable[..., OpenAI], choice: Any
) -> None:
    answer = chat(client(agent), tools=[WEATHER], tool_choice=choice, parallel_tool_calls=False)
    assert answer.choices[0].message.tool_calls[0].function.name == "weather"


def test_tool_choice_none_hides_the_tools(client: Callable[..., OpenAI]) -> None:
    answer = chat(client(agent), tools=[WEATHER], tool_choice="none")
    assert answer.choices[0].message.content == "no tools"


def plain(messages: Any, tools: Any = None) -> str:
    return "text"


def twice(messages: Any, tools: Any = None) -> Any:
    return {"tool_calls": [CALL, CALL]}


@pytest.mark.parametrize(
    ("function", "options", "reason"),
    [
        (plain, {"tool_choice": "required"}, "'required': it called no tool"),
        (plain, {"tool_choice": NAMED}, "it called no tool, not 'weather'"),
        (twice, {"tool_choice": OTHER}, "not 'other'"),
        (twice, {"tool_choice": "none"}, "'none': it called 'weather'"),
        (twice, {"parallel_tool_calls": False}, "it called 2 tools"),
    ],
)
def test_a_function_that_does_not_follow_tool_choice_is_an_error(
    start_server: StartServer, function: Callable[..., Any], options: Any, reason: str
) -> None:
    url = f"{start_server(function).url}/v1"
    with (
        OpenAI(base_url=url, api_key="unused", max_retries=0) as model,
        pytest.raises(InternalServerError, match=reason),
    ):
        chat(model, tools=[WEATHER], **options)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"tools": [{}]}, r"'tools\[0\]\.type' is missing"),
        ({"tools": [{"type": "function", "function": {}}]}, r"tools\[0\]\.function\.name"),
        ({"tools": [WEATHER], "tool_choice": "maybe"}, "'tool_choice' must be 'none'"),
        ({"tools": [WEATHER], "tool_choice": {"type": "other"}}, "'tool_choice' must be a string"),
        ({"tool_choice": "required"}, "'tool_choice' needs 'tools'"),
        ({"response_format": {"type": "xml"}}, "'response_format.type' must be"),
        ({"response_format": {"type": "json_schema"}}, "'response_format.json_schema.schema'"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": 5}}}},
         "not a schema"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {
            "$ref": "http://127.0.0.1:1/x"}}}}, r"has a \$ref that cannot be resolved"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {
            "anyOf": [{"pattern": "(?=a)b"}]}}}}, r"'pattern': '\(\?=a\)b' is not supported: "),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {
            "patternProperties": {"^a": {}}}}}}, "'patternProperties', which is not supported"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {
            "items": {"$schema": "http://json-schema.org/draft-07/schema#"}}}}},
         r"'\$schema' in a subschema, which is not supported"),
    ],
)  # fmt: skip
def test_a_wrong_option_is_a_400_that_names_it(
    start_server: StartServer, options: Any, reason: str
) -> None:
    def function(messages: Any, tools: Any = None) -> str:
        return "{}"

    url = f"{start_server(function).url}/v1"
    with (
        OpenAI(base_url=url, api_key="unused") as model,
        pytest.raises(BadRequestError, match=reason),
    ):
        chat(model, **options)


@pytest.mark.parametrize("stream", [False, True])
def test_json_that_follows_the_schema_is_returned(
    client: Callable[..., OpenAI], stream: bool
) -> None:
    def function(prompt: str) -> Iterator[str]:
        yield from ('{"city": ', '"Seoul"', "}")

    answer = chat(client(function), response_format=CITY, stream=stream)
    if stream:
        text = "".join(chunk.choices[0].delta.content or "" for chunk in answer)
    else:
        text = answer.choices[0].message.content
    assert json.loads(text) == {"city": "Seoul"}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("text", "response_format", "reason"),
    [
        ("It is Seoul.", CITY, "its text is not JSON"),
        ('{"city": 5}', CITY, r"\$\.city: 5 is not of type 'string'"),
        ("[]", {"type": "json_object"}, "is not an object"),
    ],
)
def test_text_that_violates_the_response_format_is_an_error(
    start_server: StartServer, text: str, response_format: Any, reason: str, stream: bool
) -> None:
    url = f"{start_server(lambda prompt: text).url}/v1"
    with (
        OpenAI(base_url=url, api_key="unused", max_retries=0) as model,
        pytest.raises(InternalServerError, match=reason) as caught,
    ):
        chat(model, response_format=response_format, stream=stream)
    assert caught.value.code == "invalid_model_output"


@pytest.mark.parametrize("dialect", [{}, {"$schema": "http://json-schema.org/draft-07/schema#"}])
@pytest.mark.timeout(30)  # Python's re needs years for this pattern
def test_a_pattern_is_checked_in_linear_time(start_server: StartServer, dialect: Any) -> None:
    schema = {"pattern": "^(a+)+$", "items": {"$ref": "#"}, **dialect}
    response_format = {"type": "json_schema", "json_schema": {"name": "W", "schema": schema}}
    url = f"{start_server(lambda prompt: prompt).url}/v1"
    with OpenAI(base_url=url, api_key="unused", max_retries=0) as model:

        def answer(*words: str) -> Any:
            return (
                chat(
                    model,
                    messages=[{"role": "user", "content": json.dumps(words)}],
                    response_format=response_format,
                )
                .choices[0]
                .message.content
            )

        assert answer("a" * 60) == json.dumps(["a" * 60])
        with pytest.raises(InternalServerError, match=r"\$\[0\]: .* does not match"):
            answer("a" * 60 + "b")


def test_json_that_is_too_long_is_cut_off(client: Callable[..., OpenAI]) -> None:
    model = client(lambda prompt: '{"city": "Seoul"}')
    (choice,) = chat(model, response_format=CITY, max_tokens=2).choices
    assert (choice.finish_reason, choice.message.content) == ("length", '{"city":')


def test_a_function_may_return_log_probabilities(client: Callable[..., OpenAI]) -> None:
    token = {"token": "hi", "logprob": -0.5, "top_logprobs": []}

    def function(prompt: str, logprobs: bool = False) -> Generation:
        return Generation("hi", logprobs={"content": [token]} if logprobs else None)

    model = client(function)
    assert chat(model, logprobs=True).choices[0].logprobs.content[0].logprob == -0.5
    assert chat(model).choices[0].logprobs is None


def test_a_function_that_takes_the_response_format_receives_it(start_server: StartServer) -> None:
    def function(prompt: str, response_format: Any = None) -> str:
        return str(response_format["type"])

    url = f"{start_server(function).url}/v1"
    with OpenAI(base_url=url, api_key="unused") as model:
        answer = chat(model, response_format={"type": "json_object"})
    assert answer.choices[0].message.content == "json_object"


def test_without_jsonschema_a_schema_is_refused_by_name(start_server: StartServer) -> None:
    url = f"{start_server(lambda prompt: '{}').url}/v1"
    with (
        mock.patch.dict(sys.modules, {"jsonschema": None}),
        OpenAI(base_url=url, api_key="unused") as model,
        pytest.raises(BadRequestError, match=r"'response_format'.*pip install.*scorers"),
    ):
        chat(model, response_format=CITY)


@pytest.mark.parametrize("name", ["tools", "response_format"])
def test_an_engine_without_tools_refuses_them_by_name(start_server: StartServer, name: str) -> None:
    class Plain:
        parameters = TransformersEngine.parameters  # without constrained decoding

        def generate(self, request: Any) -> Generation:
            return Generation("hi")

    value = {"tools": [WEATHER], "response_format": CITY}[name]
    with (
        OpenAI(base_url=f"{start_server(Plain()).url}/v1", api_key="unused") as model,
        pytest.raises(BadRequestError, match=f"Unsupported value of '{name}'"),
    ):
        chat(model, **{name: value})


@pytest.mark.parametrize(
    "result",
    [{}, {"content": 5}, {"tool_calls": [{}]}, {"tool_calls": ["f"]}, {"content": "a", "audio": 1}],
)
def test_a_message_that_is_not_supported_is_a_500(start_server: StartServer, result: Any) -> None:
    url = f"{start_server(lambda messages, tools=None: result).url}/v1"
    with (
        OpenAI(base_url=url, api_key="unused", max_retries=0) as model,
        pytest.raises(InternalServerError, match="The model failed"),
    ):
        chat(model)
