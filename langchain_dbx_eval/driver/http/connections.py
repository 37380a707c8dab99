"""The connections of the HTTP server: their deadlines, and what all of them together may occupy.

waitress 3.0.2 closes a connection that is silent for ``channel_timeout``: one that sends a byte now
and then stays open forever, and 1,000 of those block all others. Here each phase of a connection
ends at a deadline on the clock, and where connections or bodies exceed their limit, the connection
that has waited longest for a request is closed, one without the API key first.

waitress must be installed to import this module.
"""

from __future__ import annotations

import io
import json
import math
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask
from waitress.utilities import BadRequest

from langchain_dbx_eval.driver.errors import RequestError, error_body

__all__ = ["ConnectionLimits", "LimitedServer"]

_ERROR_CODES = {
    400: "MALFORMED_REQUEST",
    413: "REQUEST_TOO_LARGE",
    431: "REQUEST_TOO_LARGE",
    501: "NOT_IMPLEMENTED",
}
_REASONS = {408: "Request Timeout", 503: "Service Unavailable"}
_MAX_CHUNK_LINE = 16_384
"""Bytes of the line before a chunk, or of a trailer: waitress searches all of it at each read."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The limits of the connections of one server.

    Attributes:
        header_timeout: Seconds within which a connection must send the header of a request: the
            first one from its start on, a later one from its first byte on.
        body_timeout: Seconds within which a request must be complete, from its first byte on.
        idle_timeout: Seconds that a connection may wait between two requests, and that a client may
            take to receive the rest of a response without any progress.
        response_timeout: Seconds from the start of a request after which its connection is closed
            if the client has not read what was sent.
        max_body_bytes: Bytes of all requests together, in memory and on disk.
    """

    header_timeout: float = 10.0
    body_timeout: float = 60.0
    idle_timeout: float = 30.0
    response_timeout: float = math.inf
    max_body_bytes: float = math.inf


class LimitedServer(TcpWSGIServer):
    """waitress's server, with `ConnectionLimits`.

    Args:
        app: The WSGI app.
        listener: A listening socket.
        limits: The limits of its connections.
        has_key: Whether the headers of a request, with names such as ``X_API_KEY``, contain the API
            key. The body of a request without it is not stored, and the app receives an empty one.
        options: Further arguments of waitress's server.
    """

    def __init__(
        self,
        app: Any,
        listener: socket.socket,
        limits: ConnectionLimits,
        has_key: Callable[[Mapping[str, str]], bool],
        **options: Any,
    ) -> None:
        self.channel_class = LimitedChannel
        self.limits = limits
        self.has_key = has_key
        # What was read since the last exact sum is added to it: an upper bound, at no cost.
        self._body_bytes = 0
        self._trigger_lock = threading.Lock()
        self._trigger_closed = False
        sockinfo = (listener.family, listener.type, listener.proto, listener.getsockname())
        super().__init__(app, {}, True, listener, sockinfo=sockinfo, bind_socket=False, **options)

    def pull_trigger(self) -> None:
        """Wake the event loop, unless it has ended."""
        # waitress would write to the number of the descriptor, which may be another file by then.
        with self._trigger_lock:
            if not self._trigger_closed:
                super().pull_trigger()

    def close_trigger(self) -> None:
        """Free what wakes the event loop, after its end."""
        with self._trigger_lock:
            self._trigger_closed = True
            self.trigger.close()

    def readable(self) -> bool:
        """Return whether to accept a connection; make room for it if all are in use."""
        if len(self._map) >= self.adj.connection_limit:
            channel = self._longest_waiting()
            if channel is not None:
                channel.abort()
        accepts: bool = super().readable()
        return accepts

    def maintenance(self, now: float) -> None:  # noqa: ARG002 - waitress's clock, which can jump
        """Close the connections whose deadline has passed; called once per cleanup_interval."""
        for channel in list(self.active_channels.values()):
            channel.check_deadline(time.monotonic())

    def count_body_bytes(self, number: int) -> None:
        """Count bytes of bodies, and make room for them."""
        self._body_bytes += number
        while self._body_bytes > self.limits.max_body_bytes:
            channels = self.active_channels.values()
            self._body_bytes = sum(channel.body_bytes() for channel in channels)
            if self._body_bytes <= self.limits.max_body_bytes:
                return
            receiving = self._longest_waiting(receiving_body=True)
            if receiving is None:
                return
            message = "The requests that this server is receiving are too large together: retry."
            receiving.refuse(RequestError(503, "TEMPORARILY_UNAVAILABLE", message, retry_after=1))

    def _longest_waiting(self, *, receiving_body: bool = False) -> LimitedChannel | None:
        waiting = (
            channel
            for channel in self.active_channels.values()
            if channel.is_waiting() and (channel.body_bytes() or not receiving_body)
        )
        return min(
            waiting, key=lambda channel: (channel.has_key, channel.waiting_since), default=None
        )


class LimitedChannel(HTTPChannel):
    """A connection with deadlines, and errors as in `error_body`."""

    request: Any
    requests: list[Any]
    has_key = False
    """Whether a request of this connection had the API key."""

    def __init__(self, server: LimitedServer, *args: Any, **kwargs: Any) -> None:
        self.error_task_class = _JsonErrorTask
        self.parser_class = partial(_Parser, server.has_key)
        self.waiting_since = time.monotonic()
        self._in_service_since = math.inf
        super().__init__(server, *args, **kwargs)

    def received(self, data: bytes) -> bool:
        """Parse what was read, and count it if it belongs to a body."""
        accepted: bool = super().received(data)
        if self.request is not None and self.request.body_rcv is not None:
            self.server.count_body_bytes(len(data))
        return accepted

    def service(self) -> None:
        """Execute a request, in a thread."""
        self.has_key = self.has_key or self.requests[0].has_key
        self._in_service_since = time.monotonic()
        # Not the old value: the event loop may look between the end of the request and this one's.
        self.waiting_since = math.inf
        try:
            super().service()
        except BaseException:
            # waitress would never close the connection, as a request seems to be in progress.
            self.requests = []
            self.abort()
            raise
        self.waiting_since = time.monotonic()

    def is_waiting(self) -> bool:
        """Whether no request of this connection is being executed, and it is not being closed."""
        return not (self.requests or self.will_close or self.close_when_flushed)

    def body_bytes(self) -> int:
        """Return the number of bytes that the bodies of its requests occupy."""
        received = (*self.requests, self.request)
        return sum(request.stored_bytes for request in received if request is not None)

    def check_deadline(self, now: float) -> None:
        """End the connection if its phase has ended by the clock."""
        limits = self.server.limits
        if self.requests:
            if self.total_outbufs_len and now >= self._in_service_since + limits.response_timeout:
                self.abort()
        elif self.total_outbufs_len:
            # time.time(), as waitress sets it
            stalled = time.time() - self.last_activity >= limits.idle_timeout
            if stalled or now >= self.waiting_since + limits.response_timeout:
                self.abort()
        elif self.request is not None and self.request.headers_finished:
            # A request that was sent early is read after the one before it.
            if now >= max(self.request.created, self.waiting_since) + limits.body_timeout:
                self._refuse_incomplete("body", limits.body_timeout)
        else:
            # The first request is expected at once. Empty lines before one begin no new wait.
            served = self._in_service_since < math.inf
            idle_end = self.waiting_since + (
                limits.idle_timeout if served else limits.header_timeout
            )
            if self.request is None:
                if now >= idle_end:
                    self.abort()
                return
            last = idle_end + limits.header_timeout if served else idle_end
            begun = max(self.request.created, self.waiting_since)
            if now >= min(last, begun + limits.header_timeout):
                self._refuse_incomplete("header", limits.header_timeout)

    def _refuse_incomplete(self, part: str, timeout: float) -> None:
        message = f"The {part} of the request was not complete after {timeout:g} s."
        self.refuse(RequestError(408, "REQUEST_TIMEOUT", message))

    def refuse(self, error: RequestError) -> None:
        """Answer an incomplete request with an error, and close the connection."""
        with self.requests_lock:
            if self.request is not None:
                self.request.close()
                self.request = None
            self.close_when_flushed = True
        body = json.dumps(error_body(error)).encode()
        lines = [
            f"HTTP/1.1 {error.status} {_REASONS[error.status]}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            "Connection: close",
        ]
        if error.retry_after is not None:
            lines.append(f"Retry-After: {error.retry_after}")
        response = "\r\n".join([*lines, "", ""]).encode() + body
        with self.outbuf_lock:
            self.outbufs[-1].append(response)
            self.total_outbufs_len += len(response)

    def abort(self) -> None:
        """Close the connection, even if its client reads nothing.

        The event loop closes it in its next round: with another connection that has the same file
        descriptor, it could confuse one that is closed during a round.
        """
        self.will_close = True
        with suppress(AttributeError, OSError):
            # Otherwise the loop waits until the client has read what was sent.
            self.socket.shutdown(socket.SHUT_RDWR)


class _Parser(HTTPRequestParser):
    """waitress's parser of one request, which does not store a body without the API key."""

    completed: bool
    path = ""  # waitress logs it, also of a request whose header it could not parse

    def __init__(self, has_key: Callable[[Mapping[str, str]], bool], adj: Any) -> None:
        super().__init__(adj)
        self.created = time.monotonic()
        self.has_key = False
        self._check_key = has_key

    @property
    def stored_bytes(self) -> int:
        """The bytes of the body so far, if it is stored."""
        return self.body_bytes_received if self.has_key else 0

    def parse_header(self, header_plus: bytes) -> None:
        """Parse the header, and decide where the body goes."""
        super().parse_header(header_plus)
        self.has_key = self._check_key(self.headers)
        if self.body_rcv is not None and not self.has_key:
            # Read to its end, so that the client receives the 401 instead of a reset.
            self.body_rcv.buf = _Discarded()

    def received(self, data: bytes) -> int:
        """Parse data, and bound what waitress does not (3.0.2)."""
        consumed: int = super().received(data)
        if self.chunked and not self.completed:
            receiver = self.body_rcv
            if len(receiver.control_line) + len(receiver.trailer) > _MAX_CHUNK_LINE:
                self.error = BadRequest("The size of a chunk or the trailer is too long")
                self.completed = True
        return consumed


class _Discarded:
    """The buffer of a body that is not read."""

    def append(self, data: bytes) -> None: ...

    def __len__(self) -> int:
        return 0

    def getfile(self) -> io.BytesIO:
        return io.BytesIO()

    def close(self) -> None: ...


class _JsonErrorTask(ErrorTask):
    """The response to what no app receives: too large a body, or bytes that are not HTTP."""

    def execute(self) -> None:
        """Send the response."""
        error = self.request.error
        code = _ERROR_CODES.get(error.code, "INTERNAL_ERROR")
        # The body of a 500 is a traceback if waitress exposes those: it is not sent.
        detail = f": {error.body}" if error.code in _ERROR_CODES else ""
        rejection = RequestError(error.code, code, f"{error.reason}{detail}.")
        body = json.dumps(error_body(rejection)).encode()
        self.status = f"{error.code} {error.reason}"
        self.response_headers.append(("Content-Type", "application/json"))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)
