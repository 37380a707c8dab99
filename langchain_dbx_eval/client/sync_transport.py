"""Requests over the requests library.

Prepared requests go to requests' adapter directly, which keeps the connections. A session would
look up proxies and ``~/.netrc`` for each call, and follow redirects with the token.

The timeouts of urllib3 (2.8) apply to each read of a socket: a server that sends a byte from time
to time outlasts any of them. Here, the time that is left of the call is set before each read, for
the status line, the headers, the chunk sizes and the body alike.
"""

from __future__ import annotations

import http.client
import io
import os
import threading
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from typing_extensions import override
from urllib3.connection import HTTPConnection

from langchain_dbx_eval._internal.daemon_threads import result_of, submit
from langchain_dbx_eval._internal.deadline import TIMEOUT_ERRORS, Deadline
from langchain_dbx_eval._internal.runtime import is_loopback
from langchain_dbx_eval.client.request import (
    CHUNK_TIMEOUT,
    CONNECT_TIMEOUT_S,
    POOL_SIZE,
    Attempt,
    Body,
    Request,
    Response,
    connection_errors,
    environment_of,
)

if TYPE_CHECKING:
    import socket

__all__ = ["SyncStream", "send"]

_CHUNK_BYTES = 65536
# The pool is exhausted until the deadline: all its connections are open streams or slow calls.
_POOL_TIMEOUT = urllib3.exceptions.EmptyPoolError
_TIMEOUTS = (requests.Timeout, urllib3.exceptions.TimeoutError, _POOL_TIMEOUT, *TIMEOUT_ERRORS)
_FAILURES = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)


def send(attempt: Attempt) -> Response:
    """Send a request once.

    Args:
        attempt: What to send, and until when.

    Returns:
        The response, of any status; its body is open if the request streams and succeeded.

    Raises:
        RequestTimeoutError: No response came before the deadline.
        ConnectionFailedError: The connection failed.
        InvalidResponseError: The body exceeds the request's `max_response_bytes`.
    """
    request, headers = attempt.request, {**attempt.headers}
    # `Request.prepare` would check and look up what is known here, and takes longer than all the
    # rest of the client's work on a call.
    prepared = requests.PreparedRequest()
    prepared.method = request.method
    prepared.url = request.url
    prepared.body = request.body
    if request.body is not None:
        headers["Content-Length"] = str(len(request.body))
    prepared.headers = CaseInsensitiveDict(headers)
    proxies, ca_bundle = environment_of(request.host)
    clock = _Clock(attempt.deadline)
    with connection_errors(request, _TIMEOUTS, _FAILURES):
        _calls.clock = clock
        raw = _adapter(request.host).send(
            prepared,
            stream=True,
            timeout=(min(CONNECT_TIMEOUT_S, clock.remaining()), None),
            verify=ca_bundle,
            proxies=proxies,
        )
        body = Body(request, raw.status_code)
        if request.streams and raw.status_code < 300:
            stream = SyncStream(raw, request, body, clock)
            return Response(raw.status_code, raw.headers, stream=stream)
        with closing(raw):
            while body.add(raw.raw.read1(_CHUNK_BYTES, decode_content=True)):
                clock.remaining()  # what was received already is read without waiting
            return Response(raw.status_code, raw.headers, body.content)


class SyncStream:
    """The open body of a response.

    Args:
        raw: The response.
        request: Its request.
        body: Counts its bytes.
        clock: The deadline of its reads.
    """

    def __init__(self, raw: requests.Response, request: Request, body: Body, clock: _Clock) -> None:
        self._raw = raw
        self._request = request
        self._body = body
        self._clock = clock

    def read(self, timeout: float) -> bytes:
        """Return the bytes that have arrived, at least one; ``b""`` at the end.

        Args:
            timeout: Seconds to wait for them.

        Raises:
            RequestTimeoutError: Nothing arrived in time.
            ConnectionFailedError: The connection was lost.
            InvalidResponseError: The body exceeds the request's `max_response_bytes`.
        """
        self._clock.deadline = Deadline(timeout)
        with connection_errors(self._request, _TIMEOUTS, _FAILURES, CHUNK_TIMEOUT):
            # iter_content would wait for a full chunk.
            piece: bytes = self._raw.raw.read1(_CHUNK_BYTES, decode_content=True)
        self._body.count(piece)
        return piece

    def close(self) -> None:
        """Close the body, and its connection unless the body was read to its end."""
        self._raw.close()


class _Clock:
    """The deadline of everything that a call does with its connection.

    Attributes:
        deadline: The deadline. Each read of a stream sets a new one.
    """

    def __init__(self, deadline: Deadline) -> None:
        self.deadline = deadline

    def remaining(self) -> float:
        """Return the seconds that are left, more than 0: sockets treat 0 as "do not wait".

        Raises:
            TimeoutError: None are left.
        """
        remaining = self.deadline.remaining
        if remaining <= 0:
            raise TimeoutError("timed out")
        return remaining


_calls = threading.local()
"""`clock`: that of the call that this thread is sending. The arguments of requests and urllib3 have
no place for it."""


class _TimedConnection(HTTPConnection):
    """A connection that waits no longer than its call may take; mixed into urllib3's classes."""

    clock: _Clock

    @property
    def response_class(self) -> Any:  # type: ignore[override]
        """Create a response whose reads have the deadline of the call."""
        return partial(_TimedResponse, self.clock)

    @override
    def _new_conn(self) -> socket.socket:
        if is_loopback(self._dns_host):
            connected = super()._new_conn()
        else:
            # Neither a name server nor a host with many addresses heeds a timeout.
            connecting = submit(super()._new_conn)
            try:
                connected = result_of(connecting, self.clock.remaining())
            except BaseException:
                connecting.add_done_callback(_close_late)
                raise
        try:
            connected.settimeout(self.clock.remaining())  # of the TLS handshake
        except TimeoutError:
            connected.close()  # the pool closes only what is returned here
            raise
        return connected

    def _tunnel(self) -> None:
        super()._tunnel()
        self.sock.settimeout(self.clock.remaining())

    @override
    def send(self, data: Any) -> None:
        if self.sock is not None:
            self.sock.settimeout(self.clock.remaining())
        super().send(data)


class _TimedResponse(http.client.HTTPResponse):
    """A response whose reads have the deadline of its call."""

    def __init__(self, clock: _Clock, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self._reads = _TimedReads(self.fp.detach(), sock, clock)
        self.fp = io.BufferedReader(self._reads)

    @override
    def begin(self) -> None:
        super().begin()
        # http.client (3.14) takes the end of the connection for the end of the headers: the body
        # of a response that was cut there would pass as whole.
        if self._reads.at_end:
            raise http.client.IncompleteRead(b"")

    def _read_status(self) -> tuple[str, int, str]:
        read_status = super()._read_status  # type: ignore[misc]
        version, status, reason = read_status()
        # Others than 100, such as 103 Early Hints, would end the response: http.client (3.14)
        # leaves the actual one to the next request on this connection.
        while 102 <= status <= 199:
            http.client.parse_headers(self.fp)
            version, status, reason = read_status()
        return version, status, reason


class _TimedReads(io.RawIOBase):
    """The reading side of a socket; each read waits for the time that is left.

    Attributes:
        at_end: Whether the server has closed the connection.
    """

    at_end = False

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, clock: _Clock) -> None:
        self._raw = raw
        self._sock = sock
        self._clock = clock

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: Any) -> Any:
        self._sock.settimeout(self._clock.remaining())
        count = self._raw.readinto(buffer)
        self.at_end = count == 0
        return count

    @override
    def close(self) -> None:
        self._raw.close()
        super().close()


def _close_late(connecting: Any) -> None:
    """Close a connection that was made after its call had ended."""
    if not connecting.cancelled() and connecting.exception() is None:
        connecting.result().close()


class _HostAdapter(HTTPAdapter):
    """An adapter whose requests all go to one host.

    For each request, requests' own adapter parses the URL, the proxies and the certificates to find
    the connection pool, and reads cookies. Here the pool is always the same, and cookies are never
    sent.
    """

    def __init__(self) -> None:
        super().__init__(pool_connections=1, pool_maxsize=POOL_SIZE, pool_block=True)
        self._pools: dict[Any, Any] = {}
        self._lock = threading.Lock()

    @override
    def get_connection_with_tls_context(
        self, request: Any, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        settings = (verify, *proxies.items())
        if settings not in self._pools:
            with self._lock:
                if settings not in self._pools:
                    pool = super().get_connection_with_tls_context(request, verify, proxies, cert)
                    self._pools[settings] = _timed(pool)
        return self._pools[settings]

    @override
    def request_url(self, request: requests.PreparedRequest, proxies: Any) -> str:
        return super().request_url(request, proxies) if proxies else request.path_url

    @override
    def build_response(self, req: requests.PreparedRequest, resp: Any) -> requests.Response:
        response = requests.Response()
        response.status_code = resp.status
        response.headers = CaseInsensitiveDict(resp.headers)
        response.raw = resp
        response.reason = resp.reason
        response.url = req.url or ""
        response.request = req
        return response


def _timed(pool: Any) -> Any:
    """Let the connections of a pool, and the wait for one, have the deadline of the call."""
    # That of plain connections, of TLS, or of a SOCKS proxy.
    pool.ConnectionCls = type("TimedConnection", (_TimedConnection, pool.ConnectionCls), {})
    take = pool._get_conn

    def take_in_time(timeout: float | None = None) -> Any:  # noqa: ARG001 - requests has none
        clock: _Clock = _calls.clock
        try:
            remaining = clock.remaining()
        except TimeoutError as error:
            # After any other error, urllib3 (2.8) returns a connection, although it took none.
            raise _POOL_TIMEOUT(pool, str(error)) from error
        connection = take(remaining)
        connection.clock = clock
        return connection

    pool._get_conn = take_in_time
    return pool


_adapters: dict[tuple[int, str], HTTPAdapter] = {}


def _adapter(host: str) -> HTTPAdapter:
    # The key has the process id, because two processes must not share sockets copied by a fork.
    key = (os.getpid(), host)
    adapter = _adapters.get(key)
    if adapter is None:
        # `setdefault` is atomic: all threads get the adapter of the first.
        adapter = _adapters.setdefault(key, _HostAdapter())
    return adapter
