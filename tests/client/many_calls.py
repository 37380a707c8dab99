"""The process of `test_resources`: many calls, and what they leave behind.

    python -m tests.client.many_calls <url> <kind>

Prints what grew after the first tenth of the calls, as JSON.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from langchain_dbx_eval import ChatDatabricks, DatabricksEmbeddings

CALLS = 10_000
RUNS = 1_000
ABANDONED = 400
_BATCH = 50


def usage() -> dict[str, int]:
    """Return the descriptors, threads, objects and resident bytes of this process."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "objects": len(gc.get_objects()),
        "bytes": pages * os.sysconf("SC_PAGE_SIZE"),
    }


async def call_all(chat: ChatDatabricks, embeddings: DatabricksEmbeddings, count: int) -> None:
    """Make calls of each kind; the synchronous ones block the loop, which does not matter here."""
    for _ in range(count // _BATCH):
        chat.batch(["hi"] * 10)
        for _ in range(5):
            embeddings.embed_query("hi")
            chat.invoke("hi")
            assert "".join(chunk.text for chunk in chat.stream("hi")) == "ok"
        await asyncio.gather(*(chat.ainvoke("hi") for _ in range(15)))
        await asyncio.gather(*(consume(chat) for _ in range(10)))


async def consume(chat: ChatDatabricks) -> None:
    assert "".join([chunk.text async for chunk in chat.astream("hi")]) == "ok"


async def abandon(chat: ChatDatabricks, count: int) -> None:
    """Read the beginning of streams, and neither their end nor close them."""
    for _ in range(count // 2):
        next(itertools.islice(chat.stream("hi"), 1))
        await anext(chat.astream("hi"))


def measure(run: Callable[[int], object], count: int) -> dict[str, int]:
    """Return what grew while something ran `count` times, after a tenth of it as warm-up."""
    run(count // 10)
    before = usage()
    run(count)
    return {name: value - before[name] for name, value in usage().items()}


if __name__ == "__main__":
    url, kind = sys.argv[1:]
    login = {"host": url, "api_token": "dapi-many-calls"}
    chat = ChatDatabricks(model="m", **login)
    embeddings = DatabricksEmbeddings(endpoint="m", **login)
    loop = asyncio.new_event_loop()
    kinds: dict[str, tuple[Callable[[int], object], int]] = {
        "calls": (
            lambda count: loop.run_until_complete(call_all(chat, embeddings, count)),
            CALLS,
        ),
        "runs": (lambda count: [asyncio.run(chat.ainvoke("hi")) for _ in range(count)], RUNS),
        "abandoned": (lambda count: asyncio.run(abandon(chat, count)), ABANDONED),
    }
    print(json.dumps(measure(*kinds[kind])), flush=True)
