"""The memory of a server, in a process of its own, while clients and an upstream attack it."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests

from tests.polling import wait_until

PROGRAM = """
import sys
from langchain_dbx_eval.driver import DriverServer, Limits, UpstreamEngine

def endless(prompt):
    while True:
        yield "x" * 10_000

limits = Limits(request_timeout=3)
for engine in (endless, UpstreamEngine(sys.argv[1], "m")):
    print("port", DriverServer(engine, "127.0.0.1", 0, False, limits=limits).start().port)
sys.stdout.flush()
sys.stdin.read()
"""
MAX_GROWTH = 250 << 20
"""Without the limits, each of these attacks takes more than a gigabyte in three seconds."""


class HostileUpstream(BaseHTTPRequestHandler):
    """Sends without end; the prompt selects what."""

    protocol_version = "HTTP/1.0"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status, start, part = 200, b"", b"x" * 65_536
        if b"error body" in body:
            status = 422
        elif b"events" in body:
            part = b'data: {"choices": [{"text": "%s"}]}\n\n' % (b"x" * 10_000)
        elif b"one event" in body:
            start = b"data: "
        self.send_response(status)
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(start)
            while True:
                self.wfile.write(part)

    def log_message(self, *args: Any) -> None: ...


class Servers(NamedTuple):
    pid: int
    endless: str
    upstream: str

    def peak(self) -> int:
        """Return the maximum resident memory so far, in bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        match = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert match
        return int(match[1]) << 10


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    hostile = ThreadingHTTPServer(("127.0.0.1", 0), HostileUpstream)
    hostile.daemon_threads = True
    thread = threading.Thread(target=hostile.serve_forever, args=(0.02,))
    thread.start()
    arguments = [sys.executable, "-c", PROGRAM, f"http://127.0.0.1:{hostile.server_port}/v1"]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(arguments, env=dict(os.environ), **pipes) as process:
        assert process.stdout
        lines = (line.split() for line in process.stdout)
        ports = [next(line[1] for line in lines if line[0] == "port") for _ in range(2)]
        yield Servers(process.pid, *(f"http://127.0.0.1:{port}" for port in ports))
        process.kill()
    hostile.shutdown()
    thread.join()
    hostile.server_close()


def test_clients_that_do_not_read_their_streams_take_bounded_memory(servers: Servers) -> None:
    before = servers.peak()
    host, port = servers.endless.removeprefix("http://").split(":")
    body = b'{"prompt": "a", "stream": true}'
    head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    with ExitStack() as stack:
        for _ in range(8):
            client = stack.enter_context(socket.create_connection((host, int(port))))
            client.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            assert client.recv(100).startswith(b"HTTP/1.1 200")
        # An honest client is answered meanwhile.
        assert requests.get(f"{servers.endless}/v1/models", timeout=30).ok
        wait_until(lambda: "in_flight 0.0" in requests.get(f"{servers.endless}/metrics").text)
    assert servers.peak() - before < MAX_GROWTH


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/", {"prompt": "error body"}, 422),
        ("/v1/embeddings", {"input": "good body"}, 502),
        ("/", {"prompt": "one event"}, 502),
    ],
)
def test_an_endless_response_of_an_upstream_takes_bounded_memory(
    servers: Servers, path: str, body: Any, status: int
) -> None:
    before = servers.peak()
    response = requests.post(servers.upstream + path, json=body, timeout=60)
    assert response.status_code == status
    assert servers.peak() - before < MAX_GROWTH


def test_a_stream_that_is_read_is_as_long_as_its_deadline_allows(servers: Servers) -> None:
    body = {"prompt": "events", "stream": True}
    url = f"{servers.upstream}/v1/completions"
    with requests.post(url, json=body, stream=True, timeout=60) as response:
        last = b""
        for chunk in response.iter_content(None):
            last = chunk
    assert b"DEADLINE_EXCEEDED" in last
