"""One request as a value, its attempts, and the errors of a failed connection."""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any
from urllib.parse import urlsplit

from langchain_dbx_eval._internal import json_text
from langchain_dbx_eval._internal.daemon_threads import SharedCall
from langchain_dbx_eval._internal.deadline import TIMEOUT_ERRORS, Deadline
from langchain_dbx_eval._internal.runtime import is_loopback
from langchain_dbx_eval._redaction import contains_secret
from langchain_dbx_eval._version import __version__
from langchain_dbx_eval.client.credentials import Credentials
from langchain_dbx_eval.client.error_responses import error_from_response, excerpt
from langchain_dbx_eval.client.targets import Target
from langchain_dbx_eval.errors import (
    ConnectionFailedError,
    InvalidRequestError,
    InvalidResponseError,
    RequestTimeoutError,
)

__all__ = [
    "CHUNK_TIMEOUT",
    "CONNECT_TIMEOUT_S",
    "POOL_SIZE",
    "Attempt",
    "Blocking",
    "Body",
    "Request",
    "Response",
    "attempt",
    "connection_errors",
    "environment_of",
]

CONNECT_TIMEOUT_S = 10.0
"""Seconds to wait for a connection, unless less is left of the call."""
POOL_SIZE = 256
"""Connections per host; a call beyond them waits for one instead of opening another."""

CHUNK_TIMEOUT = "stream_chunk_timeout= (seconds)"
"""The argument to raise after a timeout of an open stream, for `connection_errors`."""
_MAX_ERROR_BYTES = 1_000_000
"""How much of an unsuccessful response is read: the message shows a few lines of it."""

_HEADERS = {"User-Agent": f"langchain-dbx-eval/{__version__}", "Content-Type": "application/json"}


@dataclass(frozen=True)
class Request:
    """One request, complete except for the authentication headers.

    Attributes:
        url: The URL.
        target: What is called, for messages.
        credentials: The credentials to send; None: none.
        payload: The JSON body; None makes the request a GET.
        headers: Further headers, which replace those of the same name. Excluded from `repr`,
            because they contain keys.
        streams: Whether the response may be server-sent events. An app whose body has no
            ``stream`` parameter reads this from the `Accept` header.
        timeout: Seconds for all attempts and waits together; for a stream, until it opens.
        chunk_timeout: Seconds to wait for the next chunk of a stream.
        max_retries: Attempts after the first one.
        waits_for_start: Whether a 503 is retried until `timeout`, beyond `max_retries`.
        max_response_bytes: The largest body to read, decompressed.
    """

    url: str
    target: Target
    credentials: Credentials | None
    payload: Any = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    streams: bool = False
    timeout: float = 300.0
    chunk_timeout: float = 120.0
    max_retries: int = 3
    waits_for_start: bool = False
    max_response_bytes: int = 100_000_000

    @property
    def method(self) -> str:
        """``POST``, or ``GET`` if there is no payload."""
        return "GET" if self.payload is None else "POST"

    @cached_property
    def host(self) -> str:
        """Scheme, host name and port."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    @cached_property
    def body(self) -> bytes | None:
        """The payload as JSON in UTF-8.

        Raises:
            InvalidRequestError: The payload contains something that JSON cannot represent.
        """
        if self.payload is None:
            return None
        try:
            text = json.dumps(self.payload, ensure_ascii=False, allow_nan=False)
            return text.encode("utf-8")
        except (TypeError, ValueError, RecursionError) as error:
            msg = f"The request to {self.target} cannot be written as JSON: {error}."
            raise InvalidRequestError(msg, target=str(self.target)) from error


@dataclass(frozen=True)
class Attempt:
    """One attempt to send a request.

    Attributes:
        request: The request.
        headers: All headers to send.
        deadline: The deadline of all attempts together.
    """

    request: Request
    headers: Mapping[str, str] = field(repr=False)
    deadline: Deadline


@dataclass(frozen=True)
class Response:
    """A response.

    Attributes:
        status: The HTTP status.
        headers: The headers, a case-insensitive mapping.
        body: The whole body; empty if `stream` is given.
        stream: The transport's reader of a body that is still open.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    stream: Any = None


@dataclass(frozen=True)
class Blocking:
    """A step that blocks, such as a login; it runs in a thread, so that its deadline holds.

    Attributes:
        call: What to call.
        timeout: The seconds of the whole call, from its start.
    """

    call: SharedCall[Any]
    timeout: float


class Body:
    """The body of a response, as far as it is needed.

    Args:
        request: The request.
        status: The status of the response.
    """

    def __init__(self, request: Request, status: int) -> None:
        self._request = request
        self._is_error = status >= 300
        self._pieces: list[bytes] = []
        self._size = 0

    def count(self, piece: bytes) -> None:
        """Count a piece that is not kept.

        Raises:
            InvalidResponseError: The body exceeds the request's `max_response_bytes`.
        """
        self._size += len(piece)
        if self._size > self._request.max_response_bytes:
            target = self._request.target
            msg = (
                f"The answer of {target} is larger than "
                f"max_response_bytes={self._request.max_response_bytes}, so it was not read to its "
                "end. If it may be that large, raise max_response_bytes=."
            )
            raise InvalidResponseError(msg, target=str(target))

    def add(self, piece: bytes) -> bool:
        """Add a piece; return whether more is needed.

        Raises:
            InvalidResponseError: The body exceeds the request's `max_response_bytes`.
        """
        if not piece:
            return False
        self._pieces.append(piece)
        if self._is_error:
            self._size += len(piece)
            return self._size < _MAX_ERROR_BYTES
        self.count(piece)
        return True

    @property
    def content(self) -> bytes:
        """The pieces together."""
        return b"".join(self._pieces)


def attempt(request: Request, deadline: Deadline) -> Generator[Any, Any, Any]:
    """Send a request once, and once more with new credentials after a 401.

    A flow (see `client.flow`).

    Returns:
        The decoded JSON; the open body if the request streams.

    Raises:
        DatabricksError: The response is unsuccessful.
        InvalidResponseError: The body is not JSON, for example a proxy's HTML page. Retryable.
    """
    credentials = request.credentials
    types = "text/event-stream, application/json;q=0.5"
    headers = {**_HEADERS, "Accept": types if request.streams else "application/json"}
    for may_refresh in (True, False):
        if credentials is not None:
            # Without a static token, this may call an identity provider or run a command line.
            if credentials.is_static:
                headers |= credentials.headers()
            elif may_refresh:
                headers |= yield Blocking(credentials.shared_headers, request.timeout)
            else:  # a call that began before the refresh may return the old token
                headers |= yield Blocking(SharedCall(credentials.headers), request.timeout)
        if request.headers:
            headers = _replace_headers(headers, request.headers)
        response = yield Attempt(request, headers, deadline)
        if credentials is None or response.status != 401 or not may_refresh:
            break
        if not (yield Blocking(SharedCall(credentials.refresh), request.timeout)):
            break
    if response.status >= 300:
        raise error_from_response(
            response.status,
            response.body,
            response.headers,
            target=request.target,
            host=request.host,
        )
    if request.streams:
        return response.stream
    try:
        return json_text.loads(response.body)
    except (ValueError, RecursionError):
        shown = excerpt(response.body) or "(nothing)"
        msg = f"The {request.target} answered something that is not JSON: {shown}"
        # The parser's error has the whole body, which may repeat the request's headers.
        raise InvalidResponseError(msg, target=str(request.target), retryable=True) from None


def _replace_headers(headers: Mapping[str, str], others: Mapping[str, str]) -> dict[str, str]:
    """Return headers with others, which replace those of the same name in any case."""
    replaced = {name.lower() for name in others}
    kept = {name: value for name, value in headers.items() if name.lower() not in replaced}
    return {**kept, **others}


@lru_cache(maxsize=256)
def environment_of(host: str) -> tuple[Mapping[str, str], str]:
    """Return the proxies and certificates for a host, cached: the look-up costs as much as a call.

    The variables are those of requests: ``HTTP_PROXY``, ``HTTPS_PROXY``, ``NO_PROXY``,
    ``REQUESTS_CA_BUNDLE``, ``CURL_CA_BUNDLE``. A loopback address never has a proxy: on the proxy's
    machine it is another server, which must receive neither key nor prompt.

    Returns:
        The proxies' URLs by scheme, and the trusted certificates: a file or a folder.
    """
    from certifi import where
    from requests.utils import get_environ_proxies

    ca_bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    loopback = is_loopback(urlsplit(host).hostname or "")
    proxies = {} if loopback else get_environ_proxies(host, no_proxy=None)
    return proxies, ca_bundle or where()


@contextmanager
def connection_errors(
    request: Request,
    timeouts: tuple[type[BaseException], ...],
    failures: tuple[type[BaseException], ...],
    setting: str = "timeout= (seconds, over all retries)",
) -> Iterator[None]:
    """Convert an HTTP library's errors into `DatabricksError`s.

    Args:
        request: The request that is being sent or read.
        timeouts: The library's timeouts.
        failures: Its other connection errors.
        setting: The argument to raise after a timeout.

    Raises:
        RequestTimeoutError: A timeout was raised.
        ConnectionFailedError: Another connection error was raised.
    """
    try:
        yield
    except (*timeouts, *failures) as error:
        cause = None if contains_secret(error) else error
        # urllib3 reports a timeout while it sends as an aborted connection.
        if isinstance(error, timeouts) or isinstance(_innermost(error), TIMEOUT_ERRORS):
            msg = (
                f"No answer came in time from {request.target} at {request.host}. Raise {setting}."
            )
            raise RequestTimeoutError(msg, target=str(request.target)) from cause
        msg = (
            f"The connection to {request.target} at {request.host} failed: {_reason(error)}. "
            f"{request.target.connection_advice}"
        )
        raise ConnectionFailedError(msg, target=str(request.target)) from cause


def _reason(error: BaseException) -> str:
    inner = _innermost(error)
    return f"{type(inner).__name__}: {excerpt(str(inner))}"


def _innermost(error: BaseException) -> BaseException:
    """Return the error that another one wraps: requests wraps urllib3, which wraps the socket's."""
    for inner in (getattr(error, "reason", None), getattr(error, "os_error", None), *error.args):
        if isinstance(inner, BaseException) and inner is not error:
            return _innermost(inner)
    return error
