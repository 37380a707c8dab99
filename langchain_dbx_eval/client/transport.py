"""Sends a `Request` and returns JSON, or the bytes of a stream.

Connections are kept and shared by everything in the process that talks to the same host. The
environment's proxies and certificates are looked up once per host, not per call.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from langchain_dbx_eval._version import __version__
from langchain_dbx_eval.client.failures import error_of_answer, excerpt
from langchain_dbx_eval.client.retry import RetryPolicy
from langchain_dbx_eval.client.targets import Target
from langchain_dbx_eval.errors import (
    ConnectionFailedError,
    InvalidResponseError,
    RequestTimeoutError,
)

__all__ = ["Request", "post", "read_json", "stream"]

CONNECT_TIMEOUT_S = 10.0
POOL_SIZE = 64
_CHUNK_BYTES = 8192


@dataclass(frozen=True)
class Request:
    """One request, complete but for its sending.

    Attributes:
        url: Where to.
        target: What is called, for messages.
        headers: All headers but the content's own. Never shown.
        body: The JSON to send; None makes it a GET.
    """

    url: str
    target: Target
    headers: Mapping[str, str] = field(repr=False)
    body: Any = field(default=None, repr=False)

    @property
    def host(self) -> str:
        """Scheme, name and port."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    def prepared(self) -> requests.PreparedRequest:
        """The request as the requests library sends it."""
        headers = {"User-Agent": f"langchain-dbx-eval/{__version__}", **self.headers}
        return requests.Request(
            "GET" if self.body is None else "POST",
            self.url,
            headers=headers,
            json=self.body,
            # Without an `auth` of our own, requests lets ~/.netrc replace our Authorization.
            auth=_keep_headers,
        ).prepare()


def post(request: Request, policy: RetryPolicy) -> Any:
    """Send a request, and read the JSON that answers it.

    Args:
        request: What to send.
        policy: What is tried again, and for how long.

    Returns:
        The decoded JSON.

    Raises:
        DatabricksError: The subclass that fits: no connection, no time left, an answer that is
            not a success, or one that is not JSON.
    """
    deadline = time.monotonic() + policy.timeout

    def attempt() -> Any:
        with _send(request, deadline, stream=False) as answer:
            return read_json(answer.content, request.target)

    return policy.retrying()(attempt)


def stream(request: Request, policy: RetryPolicy) -> Iterator[bytes]:
    """Send a request, and hand on its answer's bytes as they come.

    Only the opening of the stream is tried again: what has been handed on cannot be taken back.

    Args:
        request: What to send.
        policy: What is tried again, and for how long; its `timeout` also bounds a silence
            between two chunks.

    Yields:
        Pieces of the body, cut anywhere.

    Raises:
        DatabricksError: As `post`; a connection lost midway is a `ConnectionFailedError`.
    """
    deadline = time.monotonic() + policy.timeout
    answer = policy.retrying()(_send, request, deadline, stream=True)
    with answer:
        try:
            # read1 hands on what has arrived; iter_content would wait for a full chunk.
            while chunk := answer.raw.read1(_CHUNK_BYTES, decode_content=True):
                yield chunk
        except Exception as error:
            raise _transport_error(error, request) from error


def read_json(body: bytes, target: Target) -> Any:
    """Decode a JSON body.

    Raises:
        InvalidResponseError: It is not JSON, as when a proxy answers in HTML. It may pass.
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        msg = f"The {target} answered something that is not JSON: {excerpt(body) or '(nothing)'}"
        raise InvalidResponseError(msg, target=str(target), retryable=True) from error


@dataclass(frozen=True)
class _Route:
    """How one host is reached: kept connections, and what the environment says about them."""

    adapter: HTTPAdapter
    settings: Mapping[str, Any]


_routes: dict[tuple[int, str], _Route] = {}
_routes_lock = threading.Lock()


def _route_to(host: str) -> _Route:
    # Keyed by process too: two processes must not share the sockets that a fork copies.
    key = (os.getpid(), host)
    with _routes_lock:
        if key not in _routes:
            found = requests.Session().merge_environment_settings(host, {}, None, None, None)
            settings = {name: found[name] for name in ("proxies", "verify", "cert")}
            adapter = HTTPAdapter(pool_connections=1, pool_maxsize=POOL_SIZE, max_retries=0)
            _routes[key] = _Route(adapter, settings)
        return _routes[key]


def _send(request: Request, deadline: float, *, stream: bool) -> requests.Response:
    route = _route_to(request.host)
    left = max(deadline - time.monotonic(), 0.001)
    try:
        # The adapter follows no redirect, unlike a session: no token goes to another host.
        answer = route.adapter.send(
            request.prepared(),
            stream=True,
            timeout=(min(CONNECT_TIMEOUT_S, left), left),
            **route.settings,
        )
        if answer.ok and not 300 <= answer.status_code < 400:
            if not stream:
                answer.content  # noqa: B018 - read here, where a broken body is our error
            return answer
        with answer:
            body = answer.content
    except Exception as error:
        raise _transport_error(error, request) from error
    raise error_of_answer(
        answer.status_code, body, answer.headers, target=request.target, host=request.host
    )


def _transport_error(
    error: Exception, request: Request
) -> ConnectionFailedError | RequestTimeoutError | Exception:
    """Say in our words why no answer came; an exception that is no transport's passes as it is."""
    import urllib3

    where = f"{request.target} at {request.host}"
    if isinstance(error, requests.ReadTimeout | urllib3.exceptions.ReadTimeoutError | TimeoutError):
        msg = f"No answer came in time from {where}. Raise timeout= (seconds, over all retries)."
        return RequestTimeoutError(msg, target=str(request.target))
    known = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)
    if isinstance(error, known):
        msg = (
            f"The connection to {where} failed: {_reason(error)}. Check the host name, the network "
            "and the proxy settings (HTTPS_PROXY, NO_PROXY, REQUESTS_CA_BUNDLE)."
        )
        return ConnectionFailedError(msg, target=str(request.target))
    return error


def _reason(error: BaseException) -> str:
    """The innermost reason in words: requests wraps urllib3, which wraps the socket's error."""
    inner = getattr(error, "reason", None) or (error.args[0] if error.args else None)
    if isinstance(inner, BaseException) and inner is not error:
        return _reason(inner)
    return f"{type(error).__name__}: {excerpt(str(error))}"


def _keep_headers(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
