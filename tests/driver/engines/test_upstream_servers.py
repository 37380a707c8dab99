"""Several upstream servers behind one engine: choice, failures, draining, connections."""

from __future__ import annotations

import json
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from langchain_dbx_eval.driver import (
    EngineOptions,
    GenerationRequest,
    RequestContext,
    RequestError,
    UpstreamEngine,
    load_engine,
)
from langchain_dbx_eval.driver.runtime.request_context import ClientDisconnectedError
from langchain_dbx_eval.errors import ConfigurationError
from tests.polling import wait_until

_EVENTS = [
    {"choices": [{"text": "right"}]},
    {"choices": [{"text": "", "finish_reason": "stop"}]},
]


class Handler(BaseHTTPRequestHandler):
    """Answers over connections that stay open, once the gate of the server is open."""

    protocol_version = "HTTP/1.1"
    server: Any

    def setup(self) -> None:
        super().setup()
        with self.server.lock:
            self.server.connections.append(self.connection)

    def do_GET(self) -> None:
        self.respond(200, b"{}")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            self.server.received += 1
            self.server.waiting += 1
        if self.server.status is None:  # the client disconnects before the headers
            self.connection.recv(1)
            self.server.disconnected.set()
            return
        self.server.gate.wait(60)
        with self.server.lock:
            self.server.waiting -= 1
        lines = [f"data: {json.dumps(event)}\n\n" for event in _EVENTS]
        self.respond(self.server.status, "".join([*lines, "data: [DONE]\n\n"]).encode())

    def respond(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def start_upstream() -> Iterator[Callable[[], Any]]:
    started: list[tuple[Any, threading.Thread]] = []

    def start() -> Any:
        server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        server.url = f"http://127.0.0.1:{server.server_port}/v1"
        server.lock, server.gate = threading.Lock(), threading.Event()
        server.disconnected = threading.Event()
        server.received = server.waiting = 0
        server.status, server.connections = 200, []
        server.gate.set()
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        started.append((server, thread))
        return server

    yield start
    for server, thread in started:
        server.gate.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def two(start_upstream: Callable[[], Any]) -> tuple[Any, Any]:
    return start_upstream(), start_upstream()


def unused_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def engine_of(*servers: Any) -> UpstreamEngine:
    return UpstreamEngine([server.url for server in servers], "m")


def complete(engine: UpstreamEngine) -> str:
    return engine.generate(GenerationRequest("q")).text


def test_a_request_goes_to_the_server_with_the_fewest_outstanding_requests(
    two: tuple[Any, Any],
) -> None:
    slow, fast = two
    engine = engine_of(slow, fast)
    slow.gate.clear()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(complete, engine)
        wait_until(lambda: slow.waiting)
        answers = [complete(engine) for _ in range(10)]
        outstanding = [status.outstanding for status in engine.servers]
        slow.gate.set()
        assert [waiting.result(60), *answers] == ["right"] * 11
    assert outstanding == [1, 0]
    assert (slow.received, fast.received) == (1, 10)


def test_equal_servers_take_turns(two: tuple[Any, Any]) -> None:
    engine = engine_of(*two)
    for _ in range(10):
        complete(engine)
    assert [server.received for server in two] == [5, 5]


def test_200_requests_use_a_few_connections(two: tuple[Any, Any]) -> None:
    engine = engine_of(*two)
    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(lambda _: complete(engine), range(200))) == {"right"}
    assert sum(server.received for server in two) == 200
    assert all(len(server.connections) <= 8 for server in two)
    engine.close()
    assert complete(engine) == "right"


def test_an_idle_connection_that_the_server_closed_is_replaced(
    start_upstream: Callable[[], Any],
) -> None:
    server = start_upstream()
    engine = engine_of(server)
    complete(engine)
    server.connections[0].shutdown(socket.SHUT_RDWR)
    assert complete(engine) == "right"
    assert len(server.connections) == 2


@pytest.mark.parametrize("status", [404, 429, 502, 503])
def test_another_server_replaces_one_that_cannot_take_requests(
    two: tuple[Any, Any], status: int
) -> None:
    broken, other = two
    broken.status = status
    engine = engine_of(broken, other)
    assert [complete(engine) for _ in range(6)] == ["right"] * 6
    assert other.received == 6
    assert broken.received < 6


def test_a_server_that_does_not_run_is_avoided(start_upstream: Callable[[], Any]) -> None:
    server = start_upstream()
    stopped = f"http://127.0.0.1:{unused_port()}/v1"
    engine = UpstreamEngine([stopped, server.url], "m")
    assert [complete(engine) for _ in range(4)] == ["right"] * 4
    assert [status.state for status in engine.servers] == ["failing", "ready"]
    assert engine.health() is None


def test_a_server_that_works_again_receives_requests_again(two: tuple[Any, Any]) -> None:
    recovering, other = two
    recovering.status = 503
    engine = engine_of(recovering, other)
    assert complete(engine) == "right"
    assert (engine.servers[0].state, recovering.received) == ("failing", 1)
    recovering.status = 200
    wait_until(lambda: complete(engine) == "right" and recovering.received > 1)
    assert engine.servers[0].state == "ready"


def test_a_failed_generation_is_not_repeated(two: tuple[Any, Any]) -> None:
    for server in two:
        server.status = 500
    with pytest.raises(RequestError, match="answers 500"):
        complete(engine_of(*two))
    assert sum(server.received for server in two) == 1


def test_the_first_reason_is_returned_if_no_server_can_answer(two: tuple[Any, Any]) -> None:
    two[0].status, two[1].status = 429, 503
    with pytest.raises(RequestError) as caught:
        complete(engine_of(*two))
    assert caught.value.status == 429


def test_a_drained_server_receives_nothing_new(two: tuple[Any, Any]) -> None:
    first, second = two
    engine = engine_of(first, second)
    first.gate.clear()
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(complete, engine)
        wait_until(lambda: first.waiting)
        engine.drain(first.url)
        assert [complete(engine) for _ in range(4)] == ["right"] * 4
        assert engine.servers[0].state == "draining"
        first.gate.set()
        assert running.result(60) == "right"
    assert (first.received, engine.servers[0].outstanding) == (1, 0)

    engine.drain(second.url)
    with pytest.raises(RequestError, match="being replaced") as caught:
        complete(engine)
    assert (caught.value.status, caught.value.retry_after) == (503, 5)
    assert engine.health() == "All upstream servers are being replaced."
    engine.restore(first.url)
    assert complete(engine) == "right"


def test_a_client_that_disconnects_before_the_response_begins_ends_the_request(
    start_upstream: Callable[[], Any],
) -> None:
    server = start_upstream()
    server.status = None
    engine = engine_of(server)
    context = RequestContext(client_disconnected=lambda: server.received > 0)
    with pytest.raises(ClientDisconnectedError):
        engine.generate(GenerationRequest("q", context=context))
    assert server.disconnected.wait(60)
    wait_until(lambda: engine.servers[0].outstanding == 0)
    assert engine.servers[0].state == "ready"


def test_many_requests_survive_the_loss_of_a_server(start_upstream: Callable[[], Any]) -> None:
    """Requests that wait for a response when their server ends are sent to another one."""
    lost, *others = start_upstream(), start_upstream(), start_upstream()
    engine = engine_of(lost, *others)
    lost.gate.clear()
    with ThreadPoolExecutor(12) as threads:
        answers = [threads.submit(complete, engine) for _ in range(120)]
        wait_until(lambda: lost.waiting >= 3)
        lost.shutdown()
        lost.server_close()
        for connection in lost.connections:
            connection.shutdown(socket.SHUT_RDWR)
        assert Counter(answer.result(60) for answer in answers) == {"right": 120}
    assert [status.outstanding for status in engine.servers] == [0, 0, 0]
    assert engine.servers[0].state == "failing"


def test_a_list_of_addresses_separated_by_commas_can_be_served(two: tuple[Any, Any]) -> None:
    engine = load_engine(",".join(server.url for server in two), EngineOptions(model="m"))
    assert isinstance(engine, UpstreamEngine)
    assert [status.base_url for status in engine.servers] == [server.url for server in two]


@pytest.mark.parametrize("urls", [[], ["http://a/v1", "http://a/v1/"]])
def test_no_address_and_a_repeated_one_are_rejected(urls: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="different upstream servers"):
        UpstreamEngine(urls, "m")


def test_only_known_servers_can_be_drained() -> None:
    with pytest.raises(ConfigurationError, match="none of the upstream servers: http://a/v1"):
        UpstreamEngine("http://a/v1", "m").drain("http://b/v1")
