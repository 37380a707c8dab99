"""A small HTTP server on loopback, for responses that `LocalWorkspace` cannot return."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "dapi-loopback"


@dataclass(frozen=True)
class Received:
    """A received request."""

    method: str
    path: str
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.raw) if self.raw else None


@dataclass(frozen=True)
class Answer:
    """A response that is not JSON with status 200."""

    body: Any = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Pieces:
    """A body that is sent piece by piece; `cut` closes the connection before its end."""

    pieces: Iterable[bytes]
    cut: bool = False
    content_type: str = "text/event-stream"


Responder = Callable[[Received], Any]


class LoopbackServer:
    """A server whose responses a function returns: JSON, an `Answer` or `Pieces`.

    Attributes:
        requests: The received requests.
        connections: The client's address of each request: one address is one connection.
    """

    def __init__(self, answer: Responder) -> None:
        self.requests: list[Received] = []
        self.connections: list[tuple[str, int]] = []
        self._server = _Server(("127.0.0.1", 0), _handler(self, answer))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.port = self._server.server_port

    @property
    def login(self) -> dict[str, str]:
        """The arguments of a component that calls this server."""
        return {"host": self.url, "api_token": TOKEN}

    @property
    def bodies(self) -> list[Any]:
        return [request.body for request in self.requests]

    def __enter__(self) -> LoopbackServer:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._server.close_connections()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512

    def __init__(self, *args: Any) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        """Shut down the connections that clients keep open, which ends their threads."""
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that closed the connection."""


def _handler(server: LoopbackServer, answer: Responder) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            received = Received(self.command, self.path, dict(self.headers), raw)
            server.requests.append(received)
            server.connections.append(self.client_address)
            reply = answer(received)
            if isinstance(reply, Pieces):
                self._send_pieces(reply)
            else:
                self._send(reply if isinstance(reply, Answer) else Answer(reply))

        do_GET = do_CONNECT = do_POST  # noqa: N815

        def _send(self, reply: Answer) -> None:
            raw = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            self.send_response(reply.status)
            for name, value in {"Content-Length": str(len(raw)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(raw)

        def _send_pieces(self, reply: Pieces) -> None:
            self.send_response(200)
            self.send_header("Content-Type", reply.content_type)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for piece in reply.pieces:
                self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                self.wfile.flush()
            if reply.cut:
                self.close_connection = True
                return
            self.wfile.write(b"0\r\n\r\n")

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    return Handler


def events(*payloads: Any, done: bool = True) -> list[bytes]:
    """Return server-sent events, one per payload, and the `[DONE]` of model servers."""
    sent = [f"data: {json.dumps(payload)}\n\n".encode() for payload in payloads]
    return [*sent, b"data: [DONE]\n\n"] if done else sent


def chat_answer(content: Any = "ok", **more: Any) -> dict[str, Any]:
    """Return a chat completion of one message."""
    message = {"role": "assistant", "content": content}
    return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], **more}


def chat_chunk(content: Any = None, *, end: str | None = None, **more: Any) -> dict[str, Any]:
    """Return an event of a streamed chat completion."""
    delta = {} if content is None else {"content": content}
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": end}], **more}


class RequireConcurrency:
    """Answers only when the given number of requests is in flight at the same time."""

    def __init__(self, requests: int, answer: Responder) -> None:
        self._barrier = threading.Barrier(requests)
        self._answer = answer

    def __call__(self, received: Received) -> Any:
        try:
            self._barrier.wait(timeout=60)
        except threading.BrokenBarrierError:
            return Answer({"error_code": "NOT_CONCURRENT", "message": "one by one"}, status=400)
        return self._answer(received)


CALLS = ("invoke", "ainvoke", "stream", "astream")


def call_model(model: Any, call: str, prompt: Any = "hi", **kwargs: Any) -> Any:
    """Call a model by one of `CALLS`; of a stream, return the chunks."""

    async def collect() -> list[Any]:
        return [chunk async for chunk in model.astream(prompt, **kwargs)]

    if call == "astream":
        return asyncio.run(collect())
    if call == "ainvoke":
        return asyncio.run(model.ainvoke(prompt, **kwargs))
    return (
        list(model.stream(prompt, **kwargs)) if call == "stream" else model.invoke(prompt, **kwargs)
    )
