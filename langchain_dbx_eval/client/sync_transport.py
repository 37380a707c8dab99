"""Requests over the requests library.

Prepared requests go to requests' adapter directly, which keeps the connections. A session would
look up proxies and ``~/.netrc`` for each call, and follow redirects with the token.
"""

from __future__ import annotations

import os
from contextlib import closing
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from typing_extensions import override

from langchain_dbx_eval._internal.deadline import Deadline
from langchain_dbx_eval.client.request import (
    POOL_SIZE,
    Attempt,
    Request,
    Response,
    connection_errors,
    environment_of,
)

__all__ = ["SyncStream", "send"]

_CHUNK_BYTES = 65536
_TIMEOUTS = (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)
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
    with connection_errors(request, _TIMEOUTS, _FAILURES):
        raw = _adapter(request.host).send(
            prepared,
            stream=True,
            timeout=(attempt.connect_timeout, attempt.read_timeout),
            verify=ca_bundle,
            proxies=proxies,
        )
        if request.streams and raw.status_code < 300:
            return Response(raw.status_code, raw.headers, stream=SyncStream(raw, request))
        with closing(raw):
            return Response(raw.status_code, raw.headers, _read(raw, attempt.deadline))


class SyncStream:
    """The open body of a response.

    Args:
        raw: The response.
        request: Its request.
    """

    def __init__(self, raw: requests.Response, request: Request) -> None:
        self._raw = raw
        self._request = request

    def read(self) -> bytes:
        """Return the bytes that have arrived, at least one; ``b""`` at the end.

        Raises:
            RequestTimeoutError: Nothing arrived within the request's `read_timeout`.
            ConnectionFailedError: The connection was lost.
        """
        with connection_errors(self._request, _TIMEOUTS, _FAILURES):
            # iter_content would wait for a full chunk.
            piece: bytes = self._raw.raw.read1(_CHUNK_BYTES, decode_content=True)
            return piece

    def close(self) -> None:
        """Close the body, and its connection unless the body was read to its end."""
        self._raw.close()


def _read(raw: requests.Response, deadline: Deadline) -> bytes:
    """Read a whole body; one that arrives byte by byte must not exceed the deadline either."""
    chunks: list[bytes] = []
    while chunk := raw.raw.read1(_CHUNK_BYTES, decode_content=True):
        chunks.append(chunk)
        if deadline.passed:
            raise TimeoutError
    return b"".join(chunks)


class _HostAdapter(HTTPAdapter):
    """An adapter whose requests all go to one host.

    For each request, requests' own adapter parses the URL, the proxies and the certificates to find
    the connection pool, and reads cookies. Here the pool is always the same, and cookies are never
    sent.
    """

    def __init__(self) -> None:
        super().__init__(pool_connections=1, pool_maxsize=POOL_SIZE, pool_block=True)
        self._pools: dict[Any, Any] = {}

    @override
    def get_connection_with_tls_context(
        self, request: Any, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        settings = (verify, *proxies.items())
        if settings not in self._pools:
            pool = super().get_connection_with_tls_context(request, verify, proxies, cert)
            self._pools[settings] = pool
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


_adapters: dict[tuple[int, str], HTTPAdapter] = {}


def _adapter(host: str) -> HTTPAdapter:
    # The key has the process id, because two processes must not share sockets copied by a fork.
    key = (os.getpid(), host)
    adapter = _adapters.get(key)
    if adapter is None:
        # `setdefault` is atomic: all threads get the adapter of the first.
        adapter = _adapters.setdefault(key, _HostAdapter())
    return adapter
