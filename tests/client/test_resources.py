"""Descriptors, threads and memory of many calls and event loops."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3

from langchain_dbx_eval import ChatDatabricks
from langchain_dbx_eval._internal.deadline import Deadline
from langchain_dbx_eval.client import sync_transport
from langchain_dbx_eval.errors import RequestTimeoutError
from tests.client import many_calls
from tests.client.test_async_transport import chat_at, ok
from tests.loopback import LoopbackServer, chat_answer, chat_chunk, events
from tests.polling import wait_until

_DESCRIPTORS = Path("/proc/self/fd")


def sockets() -> int:
    """Return how many sockets this process has open."""
    links = []
    for path in _DESCRIPTORS.iterdir():
        try:
            links.append(os.readlink(path))
        except FileNotFoundError:  # that of this listing
            continue
    return sum(link.startswith("socket:") for link in links)


def run_without_shutdown(chat: ChatDatabricks) -> None:
    """Run a call in a loop as many libraries do: close it, but not its async generators."""
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(chat.ainvoke("hi"))
    finally:
        loop.close()


@pytest.mark.skipif(not _DESCRIPTORS.exists(), reason="only Linux lists its descriptors")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("run", [lambda c: asyncio.run(c.ainvoke("hi")), run_without_shutdown])
def test_the_connections_of_a_loop_end_with_it(run: object) -> None:
    with LoopbackServer(ok) as server:
        chat = chat_at(server)
        run(chat)  # type: ignore[operator]
        gc.collect()
        before = sockets()
        for _ in range(30):
            run(chat)  # type: ignore[operator]
        gc.collect()
        # The server, which is in this process, closes its ends a little later.
        wait_until(lambda: sockets() <= before)


def test_a_connection_that_is_made_at_the_deadline_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connect = urllib3.util.connection.create_connection

    def connect_late(*args: Any, **options: Any) -> socket.socket:
        connected = connect(*args, **options)
        sync_transport._calls.clock.deadline = Deadline(0)
        return connected

    monkeypatch.setattr(urllib3.util.connection, "create_connection", connect_late)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host = f"http://127.0.0.1:{listener.getsockname()[1]}"
        chat = ChatDatabricks(model="m", host=host, api_token="t", max_retries=0)
        # The error, which has the frames of the call, is still in use.
        with pytest.raises(RequestTimeoutError) as _error:
            chat.invoke("hi")
        accepted, _ = listener.accept()
        with accepted:
            accepted.settimeout(20)
            assert accepted.recv(1) == b""


def test_a_call_whose_deadline_passes_before_it_has_a_connection_leaves_the_pool_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sync_transport, "POOL_SIZE", 2)
    find_pool = sync_transport._HostAdapter.get_connection_with_tls_context
    pools = []

    def find_late(*args: Any, **options: Any) -> Any:
        sync_transport._calls.clock.deadline = Deadline(0)
        pools.append(find_pool(*args, **options))
        return pools[0]

    with LoopbackServer(ok) as server:
        chat = chat_at(server, max_retries=0)
        chat.invoke("hi")
        with monkeypatch.context() as late:
            late.setattr(sync_transport._HostAdapter, "get_connection_with_tls_context", find_late)
            for _ in range(3):
                with pytest.raises(RequestTimeoutError):
                    chat.invoke("hi")
        assert pools[0].pool.qsize() == 2
        chat.invoke("hi")
        assert len(set(server.connections)) == 1


def test_a_loop_that_is_gone_leaves_no_session() -> None:
    import aiohttp

    def sessions() -> int:
        gc.collect()
        return sum(isinstance(one, aiohttp.ClientSession) for one in gc.get_objects())

    with LoopbackServer(ok) as server:
        chat = chat_at(server)
        asyncio.run(chat.ainvoke("hi"))
        before = sessions()
        for _ in range(20):
            asyncio.run(chat.ainvoke("hi"))
        assert sessions() == before


def test_many_batches_reuse_their_threads() -> None:
    with LoopbackServer(ok) as server:
        chat = chat_at(server)
        chat.batch(["hi"] * 8, {"max_concurrency": 4})
        before = set(threading.enumerate())
        for _ in range(20):
            chat.batch(["hi"] * 8, {"max_concurrency": 4})
        assert "dbx-eval-daemon" in {thread.name for thread in before}
        assert len(set(threading.enumerate()) - before) <= 12


@pytest.fixture
def fast_server() -> Iterator[str]:
    """The URL of a server on one event loop, which takes less time than the calls."""
    plain = json.dumps({**chat_answer("ok"), "data": [{"index": 0, "embedding": [1.0]}]}).encode()
    stream = b"".join(events(chat_chunk("o"), chat_chunk("k"), chat_chunk(end="stop")))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
                await reader.readexactly(length)
                kind, body = b"application/json", plain
                if b"text/event-stream" in head:
                    kind, body = b"text/event-stream", stream
                length_line = b"Content-Length: %d" % len(body)
                lines = (b"HTTP/1.1 200 OK", b"Content-Type: " + kind, length_line, b"", body)
                writer.write(b"\r\n".join(lines))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(answer, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    server.close()
    loop.close()


@pytest.mark.skipif(not _DESCRIPTORS.exists(), reason="only Linux lists its descriptors")
@pytest.mark.parametrize("kind", ["calls", "runs", "abandoned"])
def test_many_calls_leave_nothing_behind(kind: str, fast_server: str) -> None:
    """10,000 calls, 1,000 event loops, and 400 streams that are not read to their end."""
    done = subprocess.run(
        [sys.executable, "-m", many_calls.__name__, fast_server, kind],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        timeout=280,
        check=True,
    )
    grown = json.loads(done.stdout)
    assert grown["descriptors"] <= 10, grown
    assert grown["threads"] <= 10, grown
    # At 1050a86, each event loop left 5 KB.
    assert grown["objects"] <= 3_000, grown
    assert grown["bytes"] <= 20 << 20, grown
