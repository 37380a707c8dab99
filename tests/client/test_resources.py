"""Descriptors, threads and memory of many calls and event loops."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from pathlib import Path

import pytest

from langchain_dbx_eval import ChatDatabricks
from tests.client.test_async_transport import chat_at, ok
from tests.loopback import LoopbackServer

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
        assert sockets() <= before + 4  # connections that the server is about to close


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
        names = {thread.name for thread in threading.enumerate()}
        for _ in range(20):
            chat.batch(["hi"] * 8, {"max_concurrency": 4})
        own = [t for t in threading.enumerate() if t.name == "dbx-eval-daemon"]
        assert "dbx-eval-daemon" in names
        assert len(own) <= 12
