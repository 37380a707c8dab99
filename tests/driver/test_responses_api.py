"""OpenAI's Responses API over a function, directly and as the upstream of another server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from openai import APIError, BadRequestError, InternalServerError, OpenAI
from pydantic import BaseModel

from langchain_dbx_eval.driver import DriverServer

StartServer = Callable[..., DriverServer]
TOOL: Any = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": False,
}


class City(BaseModel):
    name: str
    people: int


def letters(prompt: str) -> Iterator[str]:
    yield from prompt


def agent(messages: Any, tools: Sequence[Any] = ()) -> Any:
    if messages[-1]["role"] == "tool":
        return json.dumps(messages)
    if not tools:
        return "no tools"
    call = {"name": tools[0]["function"]["name"], "args": {"city": "Seoul"}}
    return {"content": "Let me see.", "tool_calls": [call]}


def respond(client: OpenAI, **request: Any) -> Any:
    return client.responses.create(**{"model": "m", "input": "hi", **request})


def test_a_response_has_text_and_usage(client: Callable[..., OpenAI]) -> None:
    response = respond(client(letters), metadata={"a": "b"})
    assert (response.output_text, response.status, response.model) == ("hi", "completed", "m")
    assert (response.usage.input_tokens, response.usage.output_tokens) == (1, 1)
    assert response.metadata == {"a": "b"}
    assert response.usage.estimated


def test_instructions_and_messages_become_a_conversation(client: Callable[..., OpenAI]) -> None:
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "A"}]},
        {"type": "message", "role": "assistant", "content": "B"},
    ]
    text = respond(client(letters), instructions="Be brief.", input=items).output_text
    assert text == "System: Be brief.\nUser: A\nAssistant: B\nAssistant:"


def test_an_image_is_passed_in_the_form_of_chat_completions(client: Callable[..., OpenAI]) -> None:
    parts = [
        {"type": "input_text", "text": "What is it?"},
        {"type": "input_image", "image_url": "data:,", "detail": "auto"},
    ]
    model = client(lambda messages: json.dumps(messages[0]["content"]))
    text = respond(model, input=[{"role": "user", "content": parts}]).output_text
    assert json.loads(text)[1] == {"type": "image_url", "image_url": {"url": "data:,"}}


def test_a_response_may_be_cut_off(client: Callable[..., OpenAI]) -> None:
    response = respond(client(letters), input="one two three", max_output_tokens=2)
    assert (response.status, response.output_text) == ("incomplete", "one two ")
    assert response.incomplete_details.reason == "max_output_tokens"


def test_the_events_of_a_stream_build_the_response(client: Callable[..., OpenAI]) -> None:
    with client(letters).responses.stream(model="m", input="hello") as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == "hello"
    assert final.output_text == "hello"
    assert final.usage is not None
    assert final.usage.output_tokens == 2
    assert events[0].type == "response.created"
    assert events[-1].type == "response.completed"
    numbers = [getattr(event, "sequence_number", None) for event in events]
    assert numbers == list(range(len(numbers)))


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_is_called_and_its_result_returned(
    client: Callable[..., OpenAI], stream: bool
) -> None:
    model = client(agent)
    assert respond(model).output_text == "no tools"
    answer = respond(model, tools=[TOOL], stream=stream)
    if stream:
        answer = list(answer)[-1].response
    message, call = answer.output
    assert message.content[0].text == "Let me see."
    assert (call.type, call.name, call.status) == ("function_call", "weather", "completed")
    assert json.loads(call.arguments) == {"city": "Seoul"}
    history = [
        {"role": "user", "content": "hi"},
        *(item.model_dump(exclude_none=True) for item in answer.output),
        {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"},
    ]
    text = respond(model, tools=[TOOL], input=history).output_text
    user, assistant, tool = json.loads(text)
    assert user == {"role": "user", "content": "hi"}
    assert assistant["content"] == "Let me see."
    assert assistant["tool_calls"][0]["id"] == call.call_id
    assert tool == {"role": "tool", "tool_call_id": call.call_id, "content": "sunny"}


def test_a_tool_may_be_required(client: Callable[..., OpenAI]) -> None:
    choice = {"type": "function", "name": "weather"}
    response = respond(client(agent), tools=[TOOL], tool_choice=choice)
    assert response.output[1].name == "weather"
    assert response.tool_choice.name == "weather"


def test_text_is_parsed_by_a_schema(client: Callable[..., OpenAI]) -> None:
    model = client(lambda prompt: '{"name": "Seoul", "people": 9}')
    parsed = model.responses.parse(model="m", input="hi", text_format=City).output_parsed
    assert parsed == City(name="Seoul", people=9)


def test_text_that_violates_the_schema_is_an_error(start_server: StartServer) -> None:
    url = f"{start_server(letters).url}/v1"
    with (
        OpenAI(base_url=url, api_key="unused", max_retries=0) as model,
        pytest.raises(InternalServerError, match="is not JSON"),
    ):
        model.responses.parse(model="m", input="hi", text_format=City)


def test_a_stream_that_fails_ends_with_an_error(start_server: StartServer) -> None:
    def failing(prompt: str) -> Iterator[str]:
        yield "so far"
        raise ValueError

    url = f"{start_server(failing).url}/v1"
    with (
        OpenAI(base_url=url, api_key="unused", max_retries=0) as model,
        pytest.raises(APIError, match="The model failed"),
    ):
        list(respond(model, stream=True))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"input": []}, "'input' must have at least 1 item"),
        ({"input": 5}, "'input' must be a string or a list"),
        ({"input": [{"role": "king", "content": "hi"}]}, r"'input\[0\]\.role' must be"),
        ({"input": [{"type": "reasoning", "summary": []}]}, r"'input\[0\]"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]},
         r"'input\[0\]\.content\[0\]\.type' must be 'input_text'"),
        ({"tools": [{"type": "web_search"}]}, r"'tools\[0\]\.type' must be 'function'"),
        ({"tools": [TOOL]}, "does not support 'tools'"),
        ({"previous_response_id": "r"}, "'previous_response_id'"),
        ({"background": True}, "'background'"),
        ({"temperature": 0.5}, "'temperature'"),
        ({"text": {"format": {"type": "xml"}}}, "'text.format.type' must be"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "schema' is missing"),
    ],
)  # fmt: skip
def test_a_field_that_is_not_supported_is_a_400_that_names_it(
    start_server: StartServer, options: Any, reason: str
) -> None:
    url = f"{start_server(letters).url}/v1"
    with (
        OpenAI(base_url=url, api_key="unused") as model,
        pytest.raises(BadRequestError, match=reason),
    ):
        respond(model, **options)
