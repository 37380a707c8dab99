"""One request to an upstream server, and its response."""

from __future__ import annotations

import itertools
import json
import socket
import threading
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any

from langchain_dbx_eval._internal.sse import EventDecoder
from langchain_dbx_eval.driver.engines.upstream import errors
from langchain_dbx_eval.driver.engines.upstream.servers import ServerPool, UpstreamServer
from langchain_dbx_eval.driver.errors import RequestError

__all__ = ["MAX_EVENT_BYTES", "Exchange"]

MAX_EVENT_BYTES = 1 << 20
_MAX_ERROR_BYTES = 10_000
_DRAIN_TIMEOUT_S = 0.05
"""Seconds to wait for the end of a response after ``[DONE]``; then its connection is closed."""


class Exchange:
    """One request to one of the servers, of whose response at most `max_bytes` are read.

    A server that cannot be reached or is busy is replaced by another one: until then, it has sent
    nothing that the client could have received.

    Args:
        pool: The servers.
        headers: Headers of the request.
        max_bytes: Maximum size of the response; None: no maximum.
    """

    def __init__(self, pool: ServerPool, headers: Mapping[str, str], max_bytes: int | None) -> None:
        self._pool = pool
        self._headers = {"Content-Type": "application/json", **headers}
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._closed = False

    def events(self, path: str, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Send a request, and yield the JSON of each event until ``[DONE]``.

        Raises:
            RequestError: See `UpstreamEngine.generate`.
        """
        decoder = EventDecoder()
        unfinished = 0
        # Small chunks: a body that is not chunked is read in parts of exactly this size.
        with closing(self._chunks(path, body, 512)) as chunks:
            for chunk in itertools.chain(chunks, [None]):
                events = decoder.finish() if chunk is None else decoder.feed(chunk)
                unfinished = 0 if events else unfinished + len(chunk or b"")
                if unfinished > MAX_EVENT_BYTES:
                    raise errors.failed("sent an event that is too long")
                for data in events:
                    if data.strip() == "[DONE]":
                        self._read_end(chunks)
                        return
                    yield errors.json_object(data)

    def fetch(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request, and return the JSON of the whole response; see `events`."""
        return errors.json_object(b"".join(self._chunks(path, body, 1 << 16)))

    def close(self) -> None:
        """End the exchange, even while another thread waits for the server or reads from it."""
        with self._lock:
            self._closed = True
            if self._socket is not None:
                # Wakes that thread; close() alone does not.
                with suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def _chunks(
        self, path: str, body: Mapping[str, Any], size: int
    ) -> Generator[bytes, None, None]:
        data = json.dumps(body, allow_nan=False).encode()
        tried: list[UpstreamServer] = []
        reason: RequestError | None = None
        while (server := self._pool.acquire(tried)) is not None:
            tried.append(server)
            try:
                connection, response = self._send(server, path, data)
                yield from self._read(server, connection, response, size)
                return
            except _UnavailableError as unavailable:
                reason = reason or unavailable.reason
            finally:
                self._pool.release(server)
        raise reason or RequestError(
            503, errors.BUSY[503], "The upstream servers are being replaced.", retry_after=5
        )

    def _send(
        self, server: UpstreamServer, path: str, data: bytes
    ) -> tuple[HTTPConnection, HTTPResponse]:
        """Send the request, and return the response once it has begun.

        Raises:
            _UnavailableError: Another server may answer instead.
            RequestError: The server rejected the request, or failed to process it.
        """
        # The server may close an idle connection just when it is used again.
        for connection in (server.idle_connection(), server.new_connection()):
            if connection is None:
                continue
            try:
                response = self._request(connection, server.path + path, data)
                self._check(server, response)
                return connection, response
            except (HTTPException, OSError):
                connection.close()
                if self._closed:
                    break
            except BaseException:
                connection.close()
                raise
        if self._closed:
            raise errors.failed("closed the connection")
        server.mark(works=False)
        raise _UnavailableError(errors.failed("cannot be reached"))

    def _request(self, connection: HTTPConnection, path: str, data: bytes) -> HTTPResponse:
        if connection.sock is None:
            connection.connect()
        # Without a timeout: the deadline of the request ends the wait for its response.
        connection.sock.settimeout(None)
        with self._lock:
            self._socket = connection.sock
            if self._closed:
                raise ConnectionAbortedError
        connection.request("POST", path, data, self._headers)
        return connection.getresponse()

    def _check(self, server: UpstreamServer, response: HTTPResponse) -> None:
        status = response.status
        if 200 <= status < 300:
            server.mark(works=True)
        elif status in errors.BUSY:
            server.mark(works=False)
            raise _UnavailableError(errors.busy(status, response.headers.get("Retry-After", "")))
        elif status in (401, 403, 404, 502, 504) or status < 400:
            server.mark(works=False)
            raise _UnavailableError(errors.failed(f"answers {status}"))
        elif status < 500:
            raise errors.rejected(status, response.read(_MAX_ERROR_BYTES))
        else:
            # Another server would probably fail too: the request may be the cause.
            raise errors.failed(f"answers {status}")

    def _read(
        self,
        server: UpstreamServer,
        connection: HTTPConnection,
        response: HTTPResponse,
        size: int,
    ) -> Iterator[bytes]:
        received = 0
        try:
            while chunk := response.read1(size):
                received += len(chunk)
                if self._max_bytes is not None and received > self._max_bytes:
                    raise errors.failed(f"sent more than {self._max_bytes >> 20} MiB")
                yield chunk
            # A length that remains: the response was cut.
            if connection.sock is not None and not response.length:
                with self._lock:
                    kept, self._socket = self._socket, None
                if kept is not None and not self._closed:
                    response.close()  # with a length, http.client leaves it open
                    server.keep(connection)
                    return
        except (HTTPException, OSError, ValueError):  # ValueError: the file is closed
            if not self._closed:
                raise errors.failed("closed the connection") from None
        except BaseException:
            response.close()
            connection.close()
            raise
        response.close()
        connection.close()

    def _read_end(self, chunks: Iterator[bytes]) -> None:
        """Read the end of a response, so that its connection can be used for another request."""
        with self._lock:
            if self._socket is not None:
                self._socket.settimeout(_DRAIN_TIMEOUT_S)
        with suppress(RequestError):
            next(chunks, None)


class _UnavailableError(Exception):
    """A server cannot take the request."""

    def __init__(self, reason: RequestError) -> None:
        super().__init__(reason.message)
        self.reason = reason
