"""The upstream servers of an engine: which one receives a request, and the connections to it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Literal
from urllib.parse import urlsplit

from urllib3.util.wait import wait_for_read

from langchain_dbx_eval.errors import ConfigurationError

__all__ = ["ServerPool", "UpstreamServer", "UpstreamStatus"]

_CONNECT_TIMEOUT_S = 5.0
_MAX_IDLE = 64
"""Maximum number of idle connections per server."""
_FIRST_PAUSE_S = 1.0
_MAX_PAUSE_S = 30.0


@dataclass(frozen=True, slots=True)
class UpstreamStatus:
    """The state of one upstream server.

    Attributes:
        base_url: Its address.
        state: ``"ready"``; ``"failing"``: it failed or was busy, and for a while it receives
            requests only if no other server can take them; ``"draining"``: it receives none.
        outstanding: Number of requests that it is processing.
    """

    base_url: str
    state: Literal["ready", "failing", "draining"]
    outstanding: int


class UpstreamServer:
    """One upstream server.

    Args:
        base_url: The base address of its API.

    Raises:
        ConfigurationError: The address is invalid.
    """

    def __init__(self, base_url: str) -> None:
        parts = urlsplit(base_url)
        if parts.username or parts.password:
            # Without the URL, which contains the password.
            msg = "The URL of an upstream server must not contain credentials. Pass api_key=."
            raise ConfigurationError(msg)
        try:
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
            msg = (
                f"{base_url!r} is not the URL of an upstream server, such as "
                "'http://127.0.0.1:8000/v1'."
            )
            raise ConfigurationError(msg)
        self.base_url = base_url.rstrip("/")
        self.path = parts.path.rstrip("/")
        self.outstanding = 0
        self.is_draining = False
        self.last_used = 0
        self._class = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._address = host, port
        self._idle: deque[HTTPConnection] = deque(maxlen=_MAX_IDLE)
        self._pause = 0.0
        self._failing_until = 0.0

    def status(self) -> UpstreamStatus:
        """Return its state."""
        state: Literal["ready", "failing", "draining"] = "failing" if self.is_failing else "ready"
        return UpstreamStatus(
            self.base_url, "draining" if self.is_draining else state, self.outstanding
        )

    @property
    def is_failing(self) -> bool:
        """Whether its last request failed a short while ago."""
        return time.monotonic() < self._failing_until

    def mark(self, *, works: bool) -> None:
        """Record whether it works; each failure in a row doubles the time for which it counts."""
        self._pause = 0.0 if works else min(max(2 * self._pause, _FIRST_PAUSE_S), _MAX_PAUSE_S)
        self._failing_until = time.monotonic() + self._pause

    def idle_connection(self) -> HTTPConnection | None:
        """Return an idle connection that the server has not closed; None if there is none."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            # What an idle connection receives is its end.
            if connection.sock is not None and not wait_for_read(connection.sock, 0.0):
                return connection
            connection.close()

    def new_connection(self, timeout: float = _CONNECT_TIMEOUT_S) -> HTTPConnection:
        """Return a connection that is not open yet. Proxies and ~/.netrc are not used."""
        host, port = self._address
        return self._class(host, port, timeout=timeout)

    def keep(self, connection: HTTPConnection) -> None:
        """Keep a connection whose response was read to its end, for another request."""
        self._idle.append(connection)

    def close_connections(self) -> None:
        """Close the idle connections."""
        while self._idle:
            with suppress(IndexError):
                self._idle.pop().close()

    def check(self, headers: dict[str, str], timeout: float) -> str | None:
        """Return an error if the server does not list its models.

        Args:
            headers: The headers of the request.
            timeout: Seconds to wait for each part of the response.
        """
        connection = self.new_connection(timeout)
        try:
            connection.request("GET", f"{self.path}/models", headers=headers)
            status = connection.getresponse().status  # the body is not read
        except (HTTPException, OSError):
            return "The upstream server cannot be reached."
        finally:
            connection.close()
        return None if 200 <= status < 300 else f"The upstream server answers {status}."


class ServerPool:
    """The servers of an engine; may be used by many threads.

    Args:
        base_urls: Their base addresses.

    Raises:
        ConfigurationError: There is none, one is repeated, or one is invalid.
    """

    def __init__(self, base_urls: Sequence[str]) -> None:
        self._servers = [UpstreamServer(url) for url in base_urls]
        self._by_url = {server.base_url: server for server in self._servers}
        if not self._servers or len(self._by_url) < len(self._servers):
            msg = f"Pass the addresses of different upstream servers, not {list(base_urls)!r}."
            raise ConfigurationError(msg)
        self._lock = threading.Lock()
        self._requests = 0

    def __iter__(self) -> Iterator[UpstreamServer]:
        return iter(self._servers)

    def find(self, base_url: str) -> UpstreamServer:
        """Return the server with an address.

        Raises:
            ConfigurationError: There is none.
        """
        try:
            return self._by_url[base_url.rstrip("/")]
        except KeyError:
            msg = f"{base_url!r} is none of the upstream servers: {', '.join(self._by_url)}."
            raise ConfigurationError(msg) from None

    def acquire(self, tried: Collection[UpstreamServer]) -> UpstreamServer | None:
        """Choose the server with the fewest outstanding requests, and add one.

        Of those with equally many, the one that was chosen least recently; failing servers last.

        Args:
            tried: Servers that this request has tried.

        Returns:
            The server, to be released; None if there is no other one.
        """
        with self._lock:
            candidates = [
                server for server in self._servers if not server.is_draining and server not in tried
            ]
            if not candidates:
                return None
            server = min(candidates, key=lambda s: (s.is_failing, s.outstanding, s.last_used))
            self._requests += 1
            server.last_used = self._requests
            server.outstanding += 1
            return server

    def release(self, server: UpstreamServer) -> None:
        """End a request of `acquire`."""
        with self._lock:
            server.outstanding -= 1
