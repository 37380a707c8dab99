"""Requests over aiohttp.

A session belongs to an event loop and is closed with it: a session that outlives its loop fails in
the next one (langchain-ai/langchain#35783) and warns when it is collected.
"""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
import sys
from collections.abc import AsyncGenerator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from typing_extensions import override
from yarl import URL

from langchain_dbx_eval._internal.daemon_threads import submit
from langchain_dbx_eval._internal.deadline import TIMEOUT_ERRORS
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

if sys.version_info >= (3, 11):
    from asyncio import timeout as _timeout
else:
    from async_timeout import timeout as _timeout

__all__ = ["AsyncStream", "send"]

# aiohttp reports some invalid responses as a ValueError or a plain http exception.
_FAILURES = (aiohttp.ClientError, aiohttp.http_exceptions.HttpProcessingError, OSError)


async def send(attempt: Attempt) -> Response:
    """Send a request once; see `sync_transport.send`."""
    request = attempt.request
    proxies, ca_bundle = environment_of(request.host)
    proxy, proxy_headers = _proxy(proxies.get(urlsplit(request.host).scheme))
    with connection_errors(request, TIMEOUT_ERRORS, _FAILURES):
        async with _timeout(attempt.deadline.remaining):
            raw = await (await _session()).request(
                request.method,
                # The parts of the URL are quoted already; aiohttp would quote them again.
                URL(request.url, encoded=True),
                data=request.body,
                headers=attempt.headers,
                timeout=aiohttp.ClientTimeout(sock_connect=CONNECT_TIMEOUT_S),
                allow_redirects=False,
                proxy=proxy,
                proxy_headers=proxy_headers,
                ssl=_tls_context(ca_bundle),
            )
            body = Body(request, raw.status)
            if request.streams and raw.status < 300:
                return Response(raw.status, raw.headers, stream=AsyncStream(raw, request, body))
            try:
                while body.add(await raw.content.readany()):
                    pass
            except BaseException:
                raw.close()
                raise
            # Closes the connection unless the body was read to its end.
            raw.close()
    return Response(raw.status, raw.headers, body.content)


class AsyncStream:
    """The open body of a response; see `sync_transport.SyncStream`."""

    def __init__(self, raw: aiohttp.ClientResponse, request: Request, body: Body) -> None:
        self._raw = raw
        self._request = request
        self._body = body

    async def read(self, timeout: float) -> bytes:
        """Return the bytes that have arrived; see `SyncStream.read`."""
        with connection_errors(self._request, TIMEOUT_ERRORS, _FAILURES, CHUNK_TIMEOUT):
            async with _timeout(timeout):
                piece = await self._raw.content.readany()
        self._body.count(piece)
        return piece

    def close(self) -> None:
        """Close the body; see `SyncStream.close`."""
        self._raw.close()


class _Resolver(AbstractResolver):
    """Resolver of host names in threads that are not waited for.

    ``asyncio.run`` waits for those of aiohttp's own resolver, also after the deadline of the call.
    """

    @override
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        look_up = partial(
            socket.getaddrinfo,
            host,
            port,
            type=socket.SOCK_STREAM,
            family=family,
            flags=socket.AI_ADDRCONFIG,
        )
        found = await asyncio.wrap_future(submit(look_up))
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=int(address[1]),
                family=found_family,
                proto=proto,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for found_family, _, proto, _, address in found
        ]

    @override
    async def close(self) -> None:
        """Nothing to close."""


_SESSION = "_langchain_dbx_eval_session"


async def _session() -> aiohttp.ClientSession:
    loop = asyncio.get_running_loop()
    known: tuple[aiohttp.ClientSession, Any] | None = getattr(loop, _SESSION, None)
    if known is not None and not known[0].closed:
        return known[0]
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=0, limit_per_host=POOL_SIZE, resolver=_Resolver(), use_dns_cache=True
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
    )
    # `asyncio.run` and servers close a loop's async generators before they close the loop: the
    # last moment at which the session's connections can be closed cleanly.
    closer = _close_with_loop(session)
    await anext(closer)
    # An attribute of the loop, because the session refers to its loop: in a table of this module,
    # even one with weak keys, it would keep itself and the loop alive.
    setattr(loop, _SESSION, (session, closer))
    return session


async def _close_with_loop(session: aiohttp.ClientSession) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        await session.close()


@lru_cache(maxsize=16)
def _proxy(url: str | None) -> tuple[str | None, dict[str, str] | None]:
    """Separate a proxy's URL from its login: aiohttp's errors show the URL."""
    parts = urlsplit(url or "")
    if not url or parts.username is None:
        return url, None
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
    headers = {"Proxy-Authorization": f"Basic {base64.b64encode(login).decode()}"}
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl(), headers


@lru_cache(maxsize=16)
def _tls_context(ca_bundle: str) -> ssl.SSLContext:
    if Path(ca_bundle).is_dir():
        return ssl.create_default_context(capath=ca_bundle)
    return ssl.create_default_context(cafile=ca_bundle)
