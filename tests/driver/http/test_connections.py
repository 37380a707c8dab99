"""Slow and hostile connections, over real sockets."""

from __future__ import annotations

import http.client
import json
import os
import resource
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import requests

from langchain_dbx_eval.driver import DriverServer, Limits
from langchain_dbx_eval.driver.http.app import executor_of
from langchain_dbx_eval.errors import ConfigurationError
from tests.driver.http.bodies import ERROR_KEYS
from tests.polling import wait_until

KEY = {"X-Api-Key": "key"}
HEADER = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
UNAUTHENTICATED = HEADER + b"Content-Length: 3000000\r\n\r\n"
AUTHENTICATED = HEADER + b"X-Api-Key: key\r\nContent-Length: 3000000\r\n\r\n"

Serve = Callable[..., DriverServer]
Connect = Callable[..., socket.socket]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a server with a key and the given limits."""
    with ExitStack() as servers:

        def start(function: Any = lambda prompt: prompt, **limits: Any) -> DriverServer:
            server = DriverServer(function, "127.0.0.1", 0, "key", limits=Limits(**limits))
            return servers.enter_context(server)

        yield start


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Open a connection and send bytes, of which the server may refuse the rest."""
    with ExitStack() as connections:

        def open_connection(server: DriverServer, data: bytes, **options: Any) -> socket.socket:
            client = socket.create_connection(("127.0.0.1", server.port), timeout=20)
            connections.enter_context(client)
            with suppress(OSError):
                client.sendall(data)
            return client

        yield open_connection


@pytest.fixture
def _many_files() -> Iterator[None]:
    """Allow 2,000 connections and their two ends in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(5_000, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def post_prompt(server: DriverServer) -> Any:
    return requests.post(server.url, json={"prompt": "hi"}, headers=KEY, timeout=20).json()


def is_closed(client: socket.socket) -> bool:
    """Whether the server has closed a connection, whatever it sent before."""
    client.setblocking(False)
    try:
        while client.recv(1 << 16):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def spooled_bytes() -> int:
    """Return the size of the deleted files that this process holds open: bodies on disk."""
    size = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            if "(deleted)" in os.readlink(descriptor):
                size += descriptor.stat().st_size
    return size


@pytest.mark.parametrize(
    ("start", "drip", "part"),
    [
        (b"GET /health HTTP/1.1\r\nX: ", b"a", "header"),
        (AUTHENTICATED, b"a", "body"),
        (UNAUTHENTICATED, b"a", "body"),
        (HEADER + b"X-Api-Key: key\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n", "body"),
    ],
)
def test_a_request_that_arrives_byte_by_byte_is_a_408_at_its_deadline(
    serve: Serve, connect: Connect, start: bytes, drip: bytes, part: str
) -> None:
    client = connect(serve(header_timeout=0.5, body_timeout=0.5), start)
    client.settimeout(0.05)
    received = b""
    for _ in range(600):
        with suppress(TimeoutError):
            received = client.recv(4096)
            break
        client.sendall(drip)
    assert received.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    error = json.loads(received.partition(b"\r\n\r\n")[2])
    assert error.keys() == ERROR_KEYS
    assert error["message"] == f"The {part} of the request was not complete after 0.5 s."


@pytest.mark.parametrize("data", [b"", b"\r\n"])
def test_a_connection_without_a_request_is_closed_at_its_deadline(
    serve: Serve, connect: Connect, data: bytes
) -> None:
    client = connect(serve(header_timeout=0.5), data)
    client.settimeout(0.05)
    for _ in range(600):
        try:
            assert client.recv(100)[:13] in (b"", b"HTTP/1.1 408 ")
            break
        except TimeoutError:
            with suppress(OSError):
                client.sendall(data)
        except ConnectionError:
            break
    else:
        pytest.fail("The connection is still open.")


def test_a_connection_is_kept_open_between_two_requests(serve: Serve) -> None:
    server = serve(header_timeout=1.0, body_timeout=1.0)
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    client.request("GET", "/health")
    client.getresponse().read()
    first = client.sock
    # Longer than the deadlines, which the event loop checks once per second.
    assert not threading.Event().wait(2.5)
    client.request("GET", "/health")
    assert client.getresponse().read() == b'{"status":"ok"}\n'
    assert client.sock is first


def test_a_slow_function_is_not_cut_by_the_deadlines_of_requests(serve: Serve) -> None:
    def slow(prompt: str) -> str:
        threading.Event().wait(2.5)
        return prompt

    assert post_prompt(serve(slow, header_timeout=1.0, body_timeout=1.0)) == "hi"


@pytest.mark.usefixtures("_many_files")
def test_a_thousand_slow_connections_do_not_block_an_honest_client(
    serve: Serve, connect: Connect
) -> None:
    server = serve()
    before = len(os.listdir("/proc/self/fd"))
    slow = [connect(server, b"GET /health HTTP/1.1\r\nX: ") for _ in range(1_050)]
    assert post_prompt(server) == "hi"
    assert sum(map(is_closed, slow[:100])) >= 40  # those that have waited longest
    assert not is_closed(slow[-1])
    for client in slow:
        client.close()
    wait_until(lambda: len(os.listdir("/proc/self/fd")) < before + 20)


def test_idle_connections_without_the_key_are_closed_before_those_with_it(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("langchain_dbx_eval.driver.server._MAX_CONNECTIONS", 20)
    server = serve()
    with requests.Session() as session:
        session.headers.update(KEY)
        assert session.get(f"{server.url}/v1/models", stream=True).json()["object"] == "list"
        (kept,) = executor_of(server._app) and server._loop._server.active_channels.values()
        others = [connect(server, b"GET /health HTTP/1.1\r\n\r\n") for _ in range(60)]
        wait_until(lambda: sum(map(is_closed, others)) >= 40)
        assert kept.connected


def test_bodies_without_the_key_are_not_stored(serve: Serve, connect: Connect) -> None:
    server = serve()
    for _ in range(30):
        connect(server, UNAUTHENTICATED + b"a" * 2_900_000)
    assert post_prompt(server) == "hi"
    assert spooled_bytes() < 1 << 20


def test_the_401_of_a_body_without_the_key_is_received(serve: Serve) -> None:
    response = requests.post(serve().url, data=b"a" * 900_000, headers={"X-Api-Key": "wrong"})
    assert response.status_code == 401
    assert response.json()["error_code"] == "UNAUTHENTICATED"


def test_unfinished_bodies_occupy_a_bounded_part_of_the_disk(
    serve: Serve, connect: Connect
) -> None:
    server = serve(max_in_flight=1)
    limit = (1 + 8) * (1 << 20)
    clients = [connect(server, AUTHENTICATED + b"a" * 2_900_000) for _ in range(30)]
    assert post_prompt(server) == "hi"
    wait_until(lambda: sum(map(is_closed, clients)) >= 30 - limit // 2_900_000)
    assert spooled_bytes() <= limit + (1 << 20)


@pytest.mark.parametrize(
    "line", [b"1;" + b"a" * 20_000, b"0\r\nX: " + b"a" * 20_000], ids=["chunk size", "trailer"]
)
def test_a_line_of_a_chunked_body_has_a_maximum_length(
    serve: Serve, connect: Connect, line: bytes
) -> None:
    header = HEADER + b"X-Api-Key: key\r\nTransfer-Encoding: chunked\r\n\r\n"
    client = connect(serve(), header + line)
    response = http.client.HTTPResponse(client)
    response.begin()
    assert (response.status, json.loads(response.read()).keys()) == (400, ERROR_KEYS)


def endless(prompt: str) -> Iterator[str]:
    while True:
        yield "x" * 1_000


def test_a_client_that_does_not_read_holds_its_slot_until_the_deadline_only(
    serve: Serve, connect: Connect
) -> None:
    produced = 0

    def count(prompt: str) -> Iterator[str]:
        nonlocal produced
        for part in endless(prompt):
            produced += len(part)
            yield part

    server = serve(count, request_timeout=1)
    admission = executor_of(server._app).admission
    body = b'{"prompt": "a", "stream": true}'
    head = HEADER.replace(b"/ ", b"/v1/completions ") + b"X-Api-Key: key\r\n"
    connect(server, head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    wait_until(lambda: produced)
    wait_until(lambda: admission.in_flight == 0)
    assert produced < 50_000_000


@pytest.mark.parametrize("name", ["header_timeout", "body_timeout"])
@pytest.mark.parametrize("value", [0, -1, "5", None, float("nan")])
def test_an_invalid_timeout_is_rejected(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=name):
        Limits(**{name: value})
