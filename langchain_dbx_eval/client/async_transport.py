"""Requests over aiohttp.

A session belongs to an event loop and is closed with it: a session that outlives its loop fails in
the next one (langchain-ai/langchain#35783) and warns when it is collected.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import aiohttp
from yarl import URL

from langchain_dbx_eval.client.request import (
    POOL_SIZE,
    Attempt,
    Request,
    Response,
    connection_errors,
    environment_of,
)

__all__ = ["AsyncStream", "send"]

# Before Python 3.11, asyncio had a TimeoutError of its own.
_TIMEOUTS = (TimeoutError, asyncio.TimeoutError)
_FAILURES = (aiohttp.ClientError, OSError)


async def send(attempt: Attempt) -> Response:
    """Send a request once; see `sync_transport.send`."""
    request = attempt.request
    proxies, ca_bundle = environment_of(request.host)
    with connection_errors(request, _TIMEOUTS, _FAILURES):
        raw = await (await _session()).request(
            request.method,
            # The parts of the URL are quoted already; aiohttp would quote them again.
            URL(request.url, encoded=True),
            data=request.body,
            headers=attempt.headers,
            timeout=aiohttp.ClientTimeout(
                sock_connect=attempt.connect_timeout, sock_read=attempt.read_timeout
            ),
            allow_redirects=False,
            proxy=proxies.get(urlsplit(request.host).scheme),
            ssl=_tls_context(ca_bundle),
        )
        if request.streams and raw.status < 300:
            return Response(raw.status, raw.headers, stream=AsyncStream(raw, request))
        async with raw:
            content = await asyncio.wait_for(raw.read(), max(attempt.deadline.remaining, 0.001))
    return Response(raw.status, raw.headers, content)


class AsyncStream:
    """The open body of a response; see `sync_transport.SyncStream`."""

    def __init__(self, raw: aiohttp.ClientResponse, request: Request) -> None:
        self._raw = raw
        self._request = request

    async def read(self) -> bytes:
        """Return the bytes that have arrived; see `SyncStream.read`."""
        with connection_errors(self._request, _TIMEOUTS, _FAILURES):
            return await self._raw.content.readany()

    def close(self) -> None:
        """Close the body; see `SyncStream.close`."""
        self._raw.close()


_sessions: WeakKeyDictionary[
    asyncio.AbstractEventLoop, tuple[aiohttp.ClientSession, AsyncGenerator[None, None]]
] = WeakKeyDictionary()


async def _session() -> aiohttp.ClientSession:
    loop = asyncio.get_running_loop()
    known = _sessions.get(loop)
    if known is not None and not known[0].closed:
        return known[0]
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, limit_per_host=POOL_SIZE),
        cookie_jar=aiohttp.DummyCookieJar(),
    )
    # `asyncio.run` and servers close a loop's async generators before they close the loop: the
    # last moment at which the session's connections can be closed cleanly.
    closer = _close_with_loop(session)
    await anext(closer)
    _sessions[loop] = (session, closer)
    return session


async def _close_with_loop(session: aiohttp.ClientSession) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        await session.close()


@lru_cache(maxsize=16)
def _tls_context(ca_bundle: str) -> ssl.SSLContext:
    if Path(ca_bundle).is_dir():
        return ssl.create_default_context(capath=ca_bundle)
    return ssl.create_default_context(cafile=ca_bundle)
