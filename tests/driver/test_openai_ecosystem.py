"""langchain-openai and instructor, where they are installed, over a function and an upstream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from openai import OpenAI as Client
from pydantic import BaseModel

from langchain_dbx_eval.driver import DriverServer, UpstreamEngine

langchain_openai = pytest.importorskip("langchain_openai", reason="langchain-openai is missing")

StartServer = Callable[..., DriverServer]
KEY = "a key of the app"


class Person(BaseModel):
    name: str
    age: int


@tool
def weather(city: str) -> str:
    """Return the weather of a city."""
    return f"sunny in {city}"


def complete(prompt: str, temperature: float = 0.0) -> str:
    return f"You said {prompt}"


def agent(messages: Any, tools: Any = ()) -> Any:
    if messages[-1]["role"] == "tool":
        return f"It is {messages[-1]['content']}."
    function = tools[0]["function"]
    types = {"integer": 7, "string": "Seoul"}
    properties = function["parameters"]["properties"].items()
    args = {name: types[schema["type"]] for name, schema in properties}
    return {"content": None, "tool_calls": [{"name": function["name"], "args": args}]}


@pytest.fixture(params=["function", "upstream"])
def url(request: pytest.FixtureRequest, start_server: StartServer) -> Callable[..., str]:
    def serve(function: Callable[..., Any]) -> str:
        server = start_server(function, KEY)
        if request.param == "upstream":
            engine = UpstreamEngine(f"{server.url}/v1", "m", api_key=KEY)
            server = start_server(engine, KEY)
        return f"{server.url}/v1"

    return serve


def chat_model(url: str, **options: Any) -> Any:
    return langchain_openai.ChatOpenAI(base_url=url, api_key=KEY, model="m", **options)


def test_the_text_model_works_with_its_defaults(url: Callable[..., str]) -> None:
    model = langchain_openai.OpenAI(base_url=url(complete), api_key=KEY)
    result = model.generate(["hi"])
    assert result.generations[0][0].text == "You said hi"
    assert result.llm_output is not None
    assert result.llm_output["token_usage"]["total_tokens"] == 4
    assert "".join(model.stream("hi")) == "You said hi"


def test_the_chat_model_works_with_its_defaults(url: Callable[..., str]) -> None:
    model = chat_model(url(complete), stream_usage=True)
    assert model.invoke("hi").usage_metadata["total_tokens"] == 4
    usage = [chunk.usage_metadata for chunk in model.stream("hi") if chunk.usage_metadata]
    assert usage[-1]["output_tokens"] == 3


def test_the_chat_model_binds_tools(url: Callable[..., str]) -> None:
    model = chat_model(url(agent)).bind_tools([weather])
    messages: list[Any] = [HumanMessage("The weather in Seoul?")]
    answer = model.invoke(messages)
    messages += [answer, weather.invoke(answer.tool_calls[0])]
    assert model.invoke(messages).content == "It is sunny in Seoul."


@pytest.mark.parametrize(
    ("function", "method"),
    [
        (agent, "function_calling"),
        (lambda prompt: '{"name": "Seoul", "age": 7}', "json_schema"),
        (lambda prompt: '{"name": "Seoul", "age": 7}', "json_mode"),
    ],
)
def test_the_chat_model_returns_structured_output(
    url: Callable[..., str], function: Callable[..., Any], method: str
) -> None:
    model = chat_model(url(function)).with_structured_output(Person, method=method)
    assert model.invoke("Who?") == Person(name="Seoul", age=7)


def test_instructors_tools_mode_returns_an_object(url: Callable[..., str]) -> None:
    instructor = pytest.importorskip("instructor", reason="instructor is not installed")
    with Client(base_url=url(agent), api_key=KEY) as openai:
        client = instructor.from_openai(openai, mode=instructor.Mode.TOOLS)
        messages = [{"role": "user", "content": "Who?"}]
        answer = client.chat.completions.create(model="m", messages=messages, response_model=Person)
    assert answer.model_dump() == {"name": "Seoul", "age": 7}  # of a subclass
