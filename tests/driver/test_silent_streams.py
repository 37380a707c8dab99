"""Streams in which the model is silent for long: nobody cuts them, and who leaves is noticed."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from openai import OpenAI

from langchain_dbx_eval import Databricks
from langchain_dbx_eval.driver import (
    CallableEngine,
    DriverServer,
    Generation,
    GenerationRequest,
    Limits,
    RequestContext,
    UpstreamEngine,
)
from langchain_dbx_eval.driver.engines.transformers.sequence import Completion
from langchain_dbx_eval.driver.runtime.request_context import DeadlinePassedError
from langchain_dbx_eval.errors import ConfigurationError

COMMENT = b": keep-alive\n\n"


class Silence:
    """What a model waits for before its first word, and what tells that it waits."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.over = threading.Event()

    def wait(self) -> None:
        self.begun.set()
        self.over.wait(30)


class Plain:
    """An engine that does not stream at all."""

    parameters: frozenset[str] = frozenset()

    def __init__(self, silence: Silence) -> None:
        self._silence = silence

    def generate(self, request: GenerationRequest) -> Generation:
        self._silence.wait()
        return Generation(request.prompt)


def function(silence: Silence) -> CallableEngine:
    def answer(prompt: str) -> Iterator[str]:
        silence.wait()
        yield from prompt

    return CallableEngine(answer)


def held_back(silence: Silence) -> CallableEngine:
    """It says something all the time, which until the end may be a stop string."""

    def answer(prompt: str) -> Iterator[str]:
        silence.begun.set()
        while not silence.over.wait(0.005):
            yield ""
        yield from prompt

    return CallableEngine(answer)


@pytest.fixture
def silence() -> Iterator[Silence]:
    silence = Silence()
    yield silence
    silence.over.set()


@pytest.fixture
def reasoning(silence: Silence) -> Iterator[UpstreamEngine]:
    """An upstream server whose model reasons, in words that are not handed on, before it says."""

    class Upstream(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()
            silence.begun.set()
            with suppress(OSError):  # who asked may have left
                while not silence.over.wait(0.005):
                    self._event({"delta": {"reasoning_content": "hm "}, "finish_reason": None})
                self._event({"text": body["prompt"], "finish_reason": "stop"})
                self.wfile.write(b"data: [DONE]\n\n")

        def _event(self, choice: Any) -> None:
            self.wfile.write(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n")

        def log_message(self, *args: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield UpstreamEngine(f"http://127.0.0.1:{server.server_port}/v1", "m")
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(params=["plain", "function", "held_back", "reasoning"])
def server(request: pytest.FixtureRequest, silence: Silence) -> Iterator[DriverServer]:
    makers: dict[str, Callable[[Silence], Any]] = {
        "plain": Plain,
        "function": function,
        "held_back": held_back,
    }
    kind = request.param
    engine = makers[kind](silence) if kind in makers else request.getfixturevalue("reasoning")
    limits = Limits(keep_alive=0.05)
    with DriverServer(engine, "127.0.0.1", 0, False, limits=limits) as server:
        yield server


def test_a_silent_stream_says_that_it_is_alive(server: DriverServer, silence: Silence) -> None:
    body = {"prompt": "hello", "stream": True}
    url = f"{server.url}/v1/completions"
    with requests.post(url, json=body, stream=True, timeout=30) as response:
        received = b""
        for piece in response.iter_content(None):
            received += piece
            if received.count(COMMENT) >= 3:
                silence.over.set()
        assert response.headers["Content-Type"].startswith("text/event-stream")
    said, _, rest = received.partition(b"data:")
    assert said == COMMENT * said.count(COMMENT)
    assert b"[DONE]" in rest


@pytest.mark.filterwarnings("ignore:cluster_driver_port")
def test_clients_skip_what_says_so(server: DriverServer, silence: Silence) -> None:
    threading.Timer(0.3, silence.over.set).start()
    llm = Databricks(cluster_driver_port=str(server.port), cluster_id="c", host="local")
    assert "".join(llm.stream("hello")) == "hello"
    with OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        chunks = client.completions.create(model="m", prompt="hello", stream=True)
        assert "".join(chunk.choices[0].text for chunk in chunks) == "hello"


def test_a_client_that_leaves_in_the_silence_frees_its_place(
    server: DriverServer, silence: Silence
) -> None:
    body = b'{"prompt": "a", "stream": true}'
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        head = "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        assert silence.begun.wait(30)
    end = time.monotonic() + 30
    while "in_flight 0.0" not in requests.get(f"{server.url}/metrics", timeout=30).text:
        assert time.monotonic() < end
        time.sleep(0.02)
    assert not silence.over.is_set()


def test_a_batch_that_has_no_token_for_a_request_gives_it_empty_pieces() -> None:
    request = GenerationRequest("a", call=RequestContext(keep_alive=0.01))
    detokenizer: Any = None
    completion = Completion(request, [1], 4, detokenizer)
    with closing(completion.pieces(lambda _: None)) as pieces:
        assert [next(pieces).text for _ in range(3)] == ["", "", ""]


def test_a_stream_whose_tokens_never_pause_ends_at_its_deadline() -> None:
    detokenizer = SimpleNamespace(end_tokens=(), feed=lambda _: "x")
    completion = Completion(
        GenerationRequest("a", call=RequestContext(0.05)), [1], 10**6, detokenizer
    )  # type: ignore[arg-type]

    def go_on() -> None:
        completion.feed(1)
        completion.hand_over()

    def read() -> None:
        go_on()
        for _ in completion.pieces(lambda _: None):
            go_on()

    with pytest.raises(DeadlinePassedError):
        read()


def test_a_keep_alive_of_no_time_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="keep_alive"):
        Limits(keep_alive=0)
