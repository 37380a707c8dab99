"""Sends a `Request` on aiohttp, and lets others run meanwhile.

Sessions belong to an event loop, and end with it: one that outlived its loop would fail in the next
(langchain-ai/langchain#35783), and complain when collected.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import aiohttp
from yarl import URL

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
# Before Python 3.11, asyncio had a TimeoutError of its own.
_TIMEOUTS = (TimeoutError, asyncio.TimeoutError)
_FAILURES = (aiohttp.ClientError, OSError)


async def post(request: Request) -> Any:
    """Send a request, and read the JSON that answers it; the twin of `sync_transport.post`."""
    deadline = Deadline(request.timeout)

    async def attempt() -> Any:
        async with await _open(request, deadline, socket_timeout(deadline)) as answer:
            return read_json(await _read(answer, request, deadline), request)

    return await request.policy.run_async(attempt)


async def stream(request: Request) -> AsyncIterator[bytes]:
    """Send a request, and hand on its answer's bytes; the twin of `sync_transport.stream`."""
    deadline = Deadline(request.timeout)
    opened = await request.policy.run_async(lambda: _open(request, deadline, request.read_timeout))
    async with opened as answer:
        try:
            async for chunk in answer.content.iter_any():
                yield chunk
        except _TIMEOUTS as error:
            raise timeout_error(request) from error
        except _FAILURES as error:
            raise connection_error(error, request) from error


async def _open(
    request: Request, deadline: Deadline, read_timeout: float
) -> aiohttp.ClientResponse:
    """Send a request once, or twice where its login has run out; return an answer to be read."""
    try:
        return await _send(request, deadline, read_timeout)
    except DatabricksError as error:
        if not await asyncio.to_thread(request.may_log_in_again, error):
            raise
    return await _send(request, deadline, read_timeout)


async def _send(
    request: Request, deadline: Deadline, read_timeout: float
) -> aiohttp.ClientResponse:
    headers = request.headers_with(await _login_headers(request))
    left = socket_timeout(deadline)
    timeout = aiohttp.ClientTimeout(
        sock_connect=min(CONNECT_TIMEOUT_S, left), sock_read=min(read_timeout, left)
    )
    try:
        answer = await (await _session()).request(
            request.method,
            # Parts are quoted already; aiohttp would quote them its own way.
            URL(request.url, encoded=True),
            data=request.body,
            headers=headers,
            timeout=timeout,
            allow_redirects=False,
            proxy=environment_of(request.host).proxies.get(urlsplit(request.host).scheme),
            ssl=_tls(environment_of(request.host).ca_bundle),
        )
    except _TIMEOUTS as error:
        raise timeout_error(request) from error
    except _FAILURES as error:
        raise connection_error(error, request) from error
    if not 200 <= answer.status < 300:
        async with answer:
            body = await _read(answer, request, deadline)
        checked(answer.status, body, answer.headers, request)
    return answer


async def _read(answer: aiohttp.ClientResponse, request: Request, deadline: Deadline) -> bytes:
    try:
        return await asyncio.wait_for(answer.read(), socket_timeout(deadline))
    except _TIMEOUTS as error:
        raise timeout_error(request) from error
    except _FAILURES as error:
        raise connection_error(error, request) from error


async def _login_headers(request: Request) -> dict[str, str]:
    if request.login is None:
        return {}
    if request.login.is_static:
        return request.login.headers()
    # It may ask an identity provider, or run the Azure or Databricks command line.
    return await asyncio.to_thread(request.login.headers)


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
    # `asyncio.run` and every server end the async generators of a loop before they close it: the
    # one moment at which the session's connections can still be closed in order.
    keeper = _close_at_the_end_of_the_loop(session)
    await anext(keeper)
    _sessions[loop] = (session, keeper)
    return session


async def _close_at_the_end_of_the_loop(
    session: aiohttp.ClientSession,
) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        await session.close()


@lru_cache(maxsize=16)
def _tls(ca_bundle: str) -> ssl.SSLContext:
    path = Path(ca_bundle)
    if path.is_dir():
        return ssl.create_default_context(capath=ca_bundle)
    return ssl.create_default_context(cafile=ca_bundle)
