"""Sends a `Request` on requests, and waits.

Prepared requests go straight through requests' adapter, which keeps the connections: a session
would look up proxies and ``~/.netrc`` for each call, and follow redirects with the token.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from typing_extensions import override

from langchain_dbx_eval._internal.deadline import Deadline
from langchain_dbx_eval.client.request import (
    CONNECT_TIMEOUT_S,
    POOL_SIZE,
    Request,
    checked,
    connection_error,
    environment_of,
    read_json,
    socket_timeout,
    timeout_error,
)
from langchain_dbx_eval.errors import DatabricksError

__all__ = ["post", "stream"]

_CHUNK_BYTES = 65536
_TIMEOUTS = (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)
_FAILURES = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)


def post(request: Request) -> Any:
    """Send a request, and read the JSON that answers it.

    Args:
        request: What to send.

    Returns:
        The decoded JSON.

    Raises:
        DatabricksError: The subclass that fits: no connection, no time left, an answer that is
            not a success, or one that is not JSON.
    """
    deadline = Deadline(request.timeout)

    def attempt() -> Any:
        with _open(request, deadline, socket_timeout(deadline)) as answer:
            return read_json(_read(answer, request, deadline), request)

    return request.policy.run(attempt)


def stream(request: Request) -> Iterator[bytes]:
    """Send a request, and hand on its answer's bytes as they come.

    Only the opening of the stream is tried again: what has been handed on cannot be taken back.

    Args:
        request: What to send.

    Yields:
        Pieces of the body, cut anywhere.

    Raises:
        DatabricksError: As `post`; a connection lost midway is a `ConnectionFailedError`.
    """
    deadline = Deadline(request.timeout)
    opened = request.policy.run(lambda: _open(request, deadline, request.read_timeout))
    with opened as answer:
        try:
            # read1 hands on what has arrived; iter_content would wait for a full chunk.
            while chunk := answer.raw.read1(_CHUNK_BYTES, decode_content=True):
                yield chunk
        except _TIMEOUTS as error:
            raise timeout_error(request) from error
        except _FAILURES as error:
            raise connection_error(error, request) from error


def _open(request: Request, deadline: Deadline, read_timeout: float) -> requests.Response:
    """Send a request once, or twice where its login has run out; return an answer to be read."""
    try:
        return _send(request, deadline, read_timeout)
    except DatabricksError as error:
        if not request.may_log_in_again(error):
            raise
    return _send(request, deadline, read_timeout)


def _send(request: Request, deadline: Deadline, read_timeout: float) -> requests.Response:
    environment = environment_of(request.host)
    left = socket_timeout(deadline)
    try:
        answer = _adapter_to(request.host).send(
            _prepared(request),
            stream=True,
            timeout=(min(CONNECT_TIMEOUT_S, left), min(read_timeout, left)),
            verify=environment.ca_bundle,
            proxies=environment.proxies,
        )
    except _TIMEOUTS as error:
        raise timeout_error(request) from error
    except _FAILURES as error:
        raise connection_error(error, request) from error
    if not 200 <= answer.status_code < 300:
        with closing(answer):
            body = _read(answer, request, deadline)
        checked(answer.status_code, body, answer.headers, request)
    return answer


def _read(answer: requests.Response, request: Request, deadline: Deadline) -> bytes:
    """Read a whole body; one that drips byte by byte must not outlast the deadline either."""
    chunks: list[bytes] = []
    try:
        while chunk := answer.raw.read1(_CHUNK_BYTES, decode_content=True):
            chunks.append(chunk)
            if deadline.passed:
                raise timeout_error(request)
    except _TIMEOUTS as error:
        raise timeout_error(request) from error
    except _FAILURES as error:
        raise connection_error(error, request) from error
    return b"".join(chunks)


def _prepared(request: Request) -> requests.PreparedRequest:
    # By hand: everything that `Request.prepare` would check or look up is known here, and it takes
    # longer than all the rest of our own work on a call.
    prepared = requests.PreparedRequest()
    prepared.method = request.method
    prepared.url = request.url
    prepared.body = request.body
    headers = request.headers_with(request.login.headers() if request.login else {})
    if request.body is not None:
        headers["Content-Length"] = str(len(request.body))
    prepared.headers = CaseInsensitiveDict(headers)
    return prepared


class _HostAdapter(HTTPAdapter):
    """requests' adapter, for the one host that all its requests go to.

    For each request, requests' own takes the URL, the proxies and the certificates apart to find
    the connections to use, and reads cookies: here the first is always the same, and the last are
    never sent.
    """

    def __init__(self) -> None:
        super().__init__(pool_connections=1, pool_maxsize=POOL_SIZE, pool_block=True)
        self._connections: dict[Any, Any] = {}

    @override
    def get_connection_with_tls_context(
        self, request: Any, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        way = (verify, *proxies.items())
        if way not in self._connections:
            found = super().get_connection_with_tls_context(request, verify, proxies, cert)
            self._connections[way] = found
        return self._connections[way]

    @override
    def request_url(self, request: requests.PreparedRequest, proxies: Any) -> str:
        return super().request_url(request, proxies) if proxies else request.path_url

    @override
    def build_response(self, req: requests.PreparedRequest, resp: Any) -> requests.Response:
        answer = requests.Response()
        answer.status_code = resp.status
        answer.headers = CaseInsensitiveDict(resp.headers)
        answer.raw = resp
        answer.reason = resp.reason
        answer.url = req.url or ""
        answer.request = req
        return answer


_adapters: dict[tuple[int, str], HTTPAdapter] = {}
_adapters_lock = threading.Lock()


def _adapter_to(host: str) -> HTTPAdapter:
    # Keyed by process too: two processes must not share the sockets that a fork copies.
    key = (os.getpid(), host)
    adapter = _adapters.get(key)
    if adapter is None:
        with _adapters_lock:
            adapter = _adapters.setdefault(key, _HostAdapter())
    return adapter
