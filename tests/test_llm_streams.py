"""`Databricks` streams: completions, chat, and driver apps with stream formats of their own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask, Response, request
from langchain_core.callbacks import BaseCallbackHandler
from werkzeug.serving import make_server

from langchain_dbx_eval import Databricks, errors
from langchain_dbx_eval.driver import DriverServer, Generation, GenerationRequest
from langchain_dbx_eval.driver.engines.base import Delta
from langchain_dbx_eval.testing import LocalWorkspace


@contextmanager
def app_that_answers(*pieces: str, kind: str = "text/event-stream") -> Iterator[int]:
    """Run an app on a driver node that answers a streaming request with these pieces."""
    app = Flask("app")

    @app.post("/")
    def answer() -> Response:
        if request.accept_mimetypes.best != "text/event-stream":
            return Response('"whole"', content_type="application/json")
        return Response(iter(pieces), content_type=kind)

    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()


def llm_of(port: int) -> Databricks:
    with pytest.warns(UserWarning, match="3000-8000"):
        return Databricks(host="local", cluster_driver_port=port, max_retries=0)


class Tokens(BaseCallbackHandler):
    def __init__(self) -> None:
        self.seen: list[str] = []

    def on_llm_new_token(self, token: str, **kwargs: Any) -> None:
        self.seen.append(token)


def streamed(llm: Databricks, callbacks: list[BaseCallbackHandler] | None = None) -> list[str]:
    """Return what `stream` yields, after a check that `astream` yields the same."""

    async def collect() -> list[str]:
        return [chunk async for chunk in llm.astream("hi")]

    chunks = list(llm.stream("hi", config={"callbacks": callbacks or []}))
    assert asyncio.run(collect()) == chunks
    return chunks


@pytest.mark.parametrize("kind", ["completions", "chat"])
def test_an_endpoint_streams_and_callbacks_receive_each_token(
    workspace: LocalWorkspace, kind: str
) -> None:
    workspace.add_endpoint("m", lambda prompt: "one two three", kind=kind)
    tokens = Tokens()
    chunks = streamed(Databricks(endpoint_name="m"), [tokens])
    assert "".join(chunks) == "one two three"
    assert len([c for c in chunks if c]) == 3
    assert tokens.seen == chunks


def test_a_custom_model_answers_in_one_chunk(workspace: LocalWorkspace) -> None:
    workspace.add_endpoint("m", lambda prompt: "one two", kind="custom")
    tokens = Tokens()
    assert streamed(Databricks(endpoint_name="m"), [tokens]) == ["one two"]
    assert tokens.seen == ["one two"]


@pytest.mark.parametrize(
    "events",
    [
        ["data: one\n\n", "data:  two\n\n", "data: [DONE]\n\n"],
        ['data: "one"\n\n', 'data: " two"\n\n', "data: [DONE]\n\n"],
        ['data: {"text": "one"}\n\n', 'data: {"text": " two", "finish_reason": "stop"}\n\n'],
        [
            'data: {"choices": [{"text": "one"}]}\n\ndata: {"choices": [{"text": " two"}]}\n\n',
            "data: [DONE]\n\n",
        ],
    ],
    ids=["text", "strings", "objects", "openai"],
)
def test_an_app_may_stream_in_a_format_of_its_own(events: list[str]) -> None:
    with app_that_answers(*events) as port:
        llm = llm_of(port)
        assert streamed(llm) == ["one", " two"]
        assert llm.invoke("hi") == "whole"


def test_an_app_that_does_not_stream_answers_in_one_chunk() -> None:
    with app_that_answers('"wh', 'ole"', kind="application/json") as port:
        assert streamed(llm_of(port)) == ["whole"]


def test_an_output_hook_receives_the_whole_answer() -> None:
    with app_that_answers("data: no\n\n") as port:
        llm = llm_of(port).model_copy(update={"transform_output_fn": str.upper})
        assert streamed(llm) == ["WHOLE"]


def test_a_stream_without_a_finish_reason_raises_with_the_text_so_far() -> None:
    with (
        app_that_answers("data: one\n\n", "data:  two\n\n") as port,
        pytest.raises(errors.StreamInterruptedError, match="before the model") as raised,
    ):
        list(llm_of(port).stream("hi"))
    assert raised.value.partial_text == "one two"


def test_an_error_event_raises_with_the_text_so_far() -> None:
    failure = 'data: {"error_code": "INTERNAL", "message": "out of memory"}\n\n'
    with (
        app_that_answers("data: one\n\n", failure) as port,
        pytest.raises(errors.StreamInterruptedError, match="out of memory") as raised,
    ):
        list(llm_of(port).stream("hi"))
    assert raised.value.partial_text == "one"


def test_a_body_that_is_neither_events_nor_json_is_shown() -> None:
    with (
        app_that_answers("<html>Welcome</html>", kind="text/html") as port,
        pytest.raises(errors.InvalidResponseError, match="Welcome"),
    ):
        list(llm_of(port).stream("hi"))


class WordEngine:
    """An engine that streams two words."""

    parameters: frozenset[str] = frozenset()

    def generate(self, request: GenerationRequest) -> Generation:
        return Generation("one two")

    def stream(self, request: GenerationRequest) -> Iterator[Delta]:
        yield Delta("one")
        yield Delta(" two", finish_reason="stop")


@pytest.mark.parametrize("path", ["", "v1/completions"])
def test_the_driver_server_streams_through_the_proxy(workspace: LocalWorkspace, path: str) -> None:
    with DriverServer(WordEngine(), host="127.0.0.1", port=0, api_key="k") as server:
        with pytest.warns(UserWarning, match="3000-8000"):
            llm = Databricks(cluster_driver_port=server.port, driver_api_key="k", path=path)
        assert [chunk for chunk in streamed(llm) if chunk] == ["one", " two"]
        assert llm.invoke("hi") == "one two"
