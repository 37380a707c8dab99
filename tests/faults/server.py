"""A server whose responses are functions of a raw socket."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

_MAX_RESPONSE_S = 60.0


class ClientGoneError(Exception):
    """The client closed the connection, or the server stopped."""


@dataclass
class Exchange:
    """One request on a connection, and the connection.

    Attributes:
        number: How many requests the server received before.
        headers: The request's headers, by lower-case name.
        raw_headers: The request's head as it was sent.
        body: The request's JSON.
    """

    server: FaultServer
    socket: socket.socket
    number: int
    headers: dict[str, str]
    raw_headers: bytes
    body: Any

    @property
    def streams(self) -> bool:
        return "event-stream" in self.headers.get("accept", "")

    def send(self, *pieces: bytes, pause: float = 0.0) -> None:
        """Send pieces, with a pause after each."""
        for piece in pieces:
            try:
                self.socket.sendall(piece)
            except OSError as error:
                raise ClientGoneError from error
            if pause:
                self.wait(pause)

    def drip(self, data: bytes, pause: float = 0.05) -> None:
        """Send one byte at a time."""
        self.send(*(data[i : i + 1] for i in range(len(data))), pause=pause)

    def flood(self, piece: bytes) -> None:
        """Send a piece again and again until the client closes the connection."""
        end = time.monotonic() + _MAX_RESPONSE_S
        while time.monotonic() < end:
            self.send(piece)

    def wait(self, seconds: float = _MAX_RESPONSE_S) -> None:
        """Wait, but not for longer than the client does."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self.server.stopped:
                raise ClientGoneError
            try:
                readable, _, _ = select.select([self.socket], [], [], min(left, 0.1))
                if readable and not self.socket.recv(65536):
                    raise ClientGoneError
            except (OSError, ValueError) as error:
                raise ClientGoneError from error

    def reset(self) -> None:
        """Close the connection with a TCP reset."""
        linger = struct.pack("ii", 1, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.socket.close()


Serve = Callable[[Exchange], None]


class FaultServer:
    """A server that closes each connection after its response.

    Args:
        serve: Writes the response.
        at_accept: Whether `serve` is called before the request is read.

    Attributes:
        responding: How many responses have not ended, neither by themselves nor by the client.
        requests: How many requests were received.
    """

    def __init__(self, serve: Serve, *, at_accept: bool = False) -> None:
        self._serve = serve
        self._at_accept = at_accept
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self.responding = 0
        self.requests = 0
        self.stopped = False
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> FaultServer:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._respond, args=(connection,), daemon=True).start()

    def _respond(self, connection: socket.socket) -> None:
        with self._counting(connection), contextlib.suppress(ClientGoneError, OSError):
            if self._at_accept:
                self._serve(Exchange(self, connection, 0, {}, b"", None))
                return
            request = _read_request(connection)
            if request is None:
                return
            raw, headers, body = request
            with self._lock:
                number, self.requests = self.requests, self.requests + 1
            self._serve(Exchange(self, connection, number, headers, raw, body))

    @contextlib.contextmanager
    def _counting(self, connection: socket.socket) -> Iterator[None]:
        with self._lock:
            self.responding += 1
            self._connections.add(connection)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
            with self._lock:
                self.responding -= 1
                self._connections.discard(connection)


def _read_request(connection: socket.socket) -> tuple[bytes, dict[str, str], Any] | None:
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(65536)
        if not piece:
            return None
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")[1:]
    headers = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    length = int(headers.get("content-length", 0))
    while len(body) < length:
        piece = connection.recv(65536)
        if not piece:
            return None
        body += piece
    return head, headers, json.loads(body) if body else None
