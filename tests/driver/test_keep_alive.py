"""Streams without output for a long time: keep-alives, and detection of disconnected clients."""

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
from langchain_dbx_eval.driver.engines.transformers.sequence import TokenSequence
from langchain_dbx_eval.driver.runtime.request_context import DeadlineExceededError
from langchain_dbx_eval.errors import ConfigurationError

COMMENT = b": keep-alive\n\n"


class Gate:
    """Blocks a model before its first output."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.released = threading.Event()

    def wait(self) -> None:
        self.entered.set()
        self.released.wait(30)


class Plain:
    """An engine that does not stream."""

    parameters: frozenset[str] = frozenset()

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def generate(self, request: GenerationRequest) -> Generation:
        self._gate.wait()
        return Generation(request.prompt)


def function(gate: Gate) -> CallableEngine:
    def answer(prompt: str) -> Iterator[str]:
        gate.wait()
        yield from prompt

    return CallableEngine(answer)


def withheld(gate: Gate) -> CallableEngine:
    """A function whose output is withheld, because it may start a stop string."""

    def answer(prompt: str) -> Iterator[str]:
        gate.entered.set()
        while not gate.released.wait(0.005):
            yield ""
        yield from prompt

    return CallableEngine(answer)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.released.set()


@pytest.fixture
def reasoning(gate: Gate) -> Iterator[UpstreamEngine]:
    """An upstream server whose model reasons before its first content."""

    class Upstream(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()
            gate.entered.set()
            with suppress(OSError):  # the client may have disconnected
                while not gate.released.wait(0.005):
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


@pytest.fixture(params=["plain", "function", "withheld", "reasoning"])
def server(request: pytest.FixtureRequest, gate: Gate) -> Iterator[DriverServer]:
    makers: dict[str, Callable[[Gate], Any]] = {
        "plain": Plain,
        "function": function,
        "withheld": withheld,
    }
    kind = request.param
    engine = makers[kind](gate) if kind in makers else request.getfixturevalue("reasoning")
    limits = Limits(keep_alive=0.05)
    with DriverServer(engine, "127.0.0.1", 0, False, limits=limits) as server:
        yield server


def test_a_stream_without_output_sends_keep_alives(server: DriverServer, gate: Gate) -> None:
    body = {"prompt": "hello", "stream": True}
    url = f"{server.url}/v1/completions"
    with requests.post(url, json=body, stream=True, timeout=30) as response:
        received = b""
        for chunk in response.iter_content(None):
            received += chunk
            if received.count(COMMENT) >= 3:
                gate.released.set()
        assert response.headers["Content-Type"].startswith("text/event-stream")
    before, _, rest = received.partition(b"data:")
    assert before == COMMENT * before.count(COMMENT)
    assert b"[DONE]" in rest


@pytest.mark.filterwarnings("ignore:cluster_driver_port")
def test_clients_skip_keep_alives(server: DriverServer, gate: Gate) -> None:
    threading.Timer(0.3, gate.released.set).start()
    llm = Databricks(cluster_driver_port=str(server.port), cluster_id="c", host="local")
    assert "".join(llm.stream("hello")) == "hello"
    with OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        chunks = client.completions.create(model="m", prompt="hello", stream=True)
        assert "".join(chunk.choices[0].text for chunk in chunks) == "hello"


def test_a_client_that_disconnects_before_the_first_output_frees_its_slot(
    server: DriverServer, gate: Gate
) -> None:
    body = b'{"prompt": "a", "stream": true}'
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        head = "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        assert gate.entered.wait(30)
    end = time.monotonic() + 30
    while "in_flight 0.0" not in requests.get(f"{server.url}/metrics", timeout=30).text:
        assert time.monotonic() < end
        time.sleep(0.02)
    assert not gate.released.is_set()


def test_a_sequence_without_a_new_token_yields_empty_deltas() -> None:
    request = GenerationRequest("a", context=RequestContext(keep_alive=0.01))
    detokenizer: Any = None
    sequence = TokenSequence(request, [1], 4, detokenizer)
    with closing(sequence.deltas(lambda _: None)) as deltas:
        assert [next(deltas).text for _ in range(3)] == ["", "", ""]


def test_a_stream_whose_tokens_arrive_without_a_pause_ends_at_its_deadline() -> None:
    detokenizer = SimpleNamespace(end_tokens=(), feed=lambda _: "x")
    sequence = TokenSequence(
        GenerationRequest("a", context=RequestContext(0.05)), [1], 10**6, detokenizer
    )  # type: ignore[arg-type]

    def generate() -> None:
        sequence.feed(1)
        sequence.notify()

    def read() -> None:
        generate()
        for _ in sequence.deltas(lambda _: None):
            generate()

    with pytest.raises(DeadlineExceededError):
        read()


def test_a_keep_alive_of_0_is_rejected() -> None:
    with pytest.raises(ConfigurationError, match="keep_alive"):
        Limits(keep_alive=0)
