"""One request as a value, and what its answer means: what both transports share."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any
from urllib.parse import urlsplit

from langchain_dbx_eval._internal import json_text
from langchain_dbx_eval._internal.deadline import Deadline
from langchain_dbx_eval._internal.retry import RetryPolicy
from langchain_dbx_eval._internal.runtime import is_loopback
from langchain_dbx_eval._version import __version__
from langchain_dbx_eval.client.credentials import Credentials
from langchain_dbx_eval.client.error_responses import error_of_answer, excerpt
from langchain_dbx_eval.client.targets import Target
from langchain_dbx_eval.errors import (
    AuthenticationError,
    ConnectionFailedError,
    DatabricksError,
    InvalidRequestError,
    InvalidResponseError,
    RequestTimeoutError,
)

__all__ = [
    "CONNECT_TIMEOUT_S",
    "POOL_SIZE",
    "Environment",
    "Request",
    "checked",
    "connection_error",
    "environment_of",
    "read_json",
    "socket_timeout",
    "timeout_error",
]

CONNECT_TIMEOUT_S = 10.0
POOL_SIZE = 256
"""Connections kept to one host; a call beyond them waits for one, rather than opening more."""

_HEADERS = {
    "User-Agent": f"langchain-dbx-eval/{__version__}",
    "Content-Type": "application/json",
}


@dataclass(frozen=True)
class Request:
    """One request, complete but for the login of the moment at which it is sent.

    Attributes:
        url: Where to.
        target: What is called, for messages.
        login: Whose login to send; None sends none.
        payload: The JSON to send; None makes it a GET.
        headers: Further headers. Never shown.
        policy: The retry policy.
        streams: Whether the answer may come as events. An app of one's own, whose body has no
            place to ask for that, sees it by the `Accept` header.
        timeout: Seconds for all attempts and waits together; for a stream, until it opens.
        read_timeout: Seconds without a byte after which a stream has failed.
    """

    url: str
    target: Target
    login: Credentials | None
    policy: RetryPolicy
    payload: Any = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    streams: bool = False
    timeout: float = 300.0
    read_timeout: float = 120.0

    @property
    def method(self) -> str:
        """``POST``, or ``GET`` where there is nothing to send."""
        return "GET" if self.payload is None else "POST"

    @cached_property
    def host(self) -> str:
        """Scheme, name and port."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    @cached_property
    def body(self) -> bytes | None:
        """The payload as JSON in UTF-8.

        Raises:
            InvalidRequestError: JSON has no form for something in it.
        """
        if self.payload is None:
            return None
        try:
            text = json.dumps(self.payload, ensure_ascii=False, allow_nan=False)
            return text.encode("utf-8")
        except (TypeError, ValueError, RecursionError) as error:
            msg = f"The request to {self.target} cannot be written as JSON: {error}."
            raise InvalidRequestError(msg, target=str(self.target)) from error

    def headers_with(self, login_headers: Mapping[str, str]) -> dict[str, str]:
        """All headers to send, given those of the login."""
        accept = "text/event-stream, application/json;q=0.5" if self.streams else "application/json"
        return {**_HEADERS, "Accept": accept, **self.headers, **login_headers}

    def may_log_in_again(self, error: DatabricksError) -> bool:
        """Whether the login was refused, and a new one of the same user has been made."""
        refused = isinstance(error, AuthenticationError) and error.status_code == 401
        return refused and self.login is not None and self.login.refresh()


@dataclass(frozen=True)
class Environment:
    """What the environment says about the way to one host.

    Attributes:
        proxies: A proxy's URL by scheme.
        ca_bundle: The certificates to trust: a file or folder.
    """

    proxies: Mapping[str, str]
    ca_bundle: str


@lru_cache(maxsize=256)
def environment_of(host: str) -> Environment:
    """Look up proxies and certificates for a host: once, for it takes as long as a request.

    The variables are those of requests: ``HTTP_PROXY``, ``HTTPS_PROXY``, ``NO_PROXY``,
    ``REQUESTS_CA_BUNDLE``, ``CURL_CA_BUNDLE``. A loopback address has no proxy, whatever they say:
    on another machine it is another server, which must see neither key nor prompt.
    """
    from certifi import where
    from requests.utils import get_environ_proxies

    ca_bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    here = is_loopback(urlsplit(host).hostname or "")
    proxies = {} if here else get_environ_proxies(host, no_proxy=None)
    return Environment(proxies, ca_bundle or where())


def checked(status: int, body: bytes, headers: Mapping[str, str], request: Request) -> None:
    """Raise what an answer stands for, unless it is a success."""
    if not 200 <= status < 300:
        raise error_of_answer(status, body, headers, target=request.target, host=request.host)


def read_json(body: bytes, request: Request) -> Any:
    """Decode a JSON body.

    Raises:
        InvalidResponseError: It is not JSON, as when a proxy answers in HTML. It may pass.
    """
    try:
        return json_text.loads(body)
    except (ValueError, RecursionError) as error:
        shown = excerpt(body) or "(nothing)"
        msg = f"The {request.target} answered something that is not JSON: {shown}"
        raise InvalidResponseError(msg, target=str(request.target), retryable=True) from error


def socket_timeout(deadline: Deadline) -> float:
    """Seconds until a deadline, at least 1 ms: sockets treat 0 as "no timeout"."""
    return max(deadline.remaining, 0.001)


def timeout_error(request: Request) -> RequestTimeoutError:
    """The error for an answer that did not come in time."""
    msg = (
        f"No answer came in time from {request.target} at {request.host}. "
        "Raise timeout= (seconds, over all retries)."
    )
    return RequestTimeoutError(msg, target=str(request.target))


def connection_error(error: BaseException, request: Request) -> ConnectionFailedError:
    """The error for a connection that failed."""
    msg = (
        f"The connection to {request.target} at {request.host} failed: {_reason(error)}. Check the "
        "host name, the network and the proxy settings (HTTPS_PROXY, NO_PROXY, REQUESTS_CA_BUNDLE)."
    )
    return ConnectionFailedError(msg, target=str(request.target))


def _reason(error: BaseException) -> str:
    """The innermost reason in words: requests wraps urllib3, which wraps the socket's error."""
    inner = getattr(error, "reason", None) or getattr(error, "os_error", None)
    inner = inner or (error.args[0] if error.args else None)
    if isinstance(inner, BaseException) and inner is not error:
        return _reason(inner)
    return f"{type(error).__name__}: {excerpt(str(error))}"
