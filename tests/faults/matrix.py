"""One cell of the matrix: a call of a component that meets a fault, and what it violated."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from langchain_dbx_eval import ChatDatabricks, Databricks, DatabricksEmbeddings
from langchain_dbx_eval.client import sync_transport
from langchain_dbx_eval.errors import RequestTimeoutError
from tests.faults.responses import VECTOR
from tests.faults.server import FaultServer
from tests.faults.table import Fault

TOKEN = "dapi-planted-token-3f9c1e"
KEY = "planted-driver-key-77ab02"
MAX_RESPONSE_BYTES = 2_000_000
COMPONENTS = ("llm", "chat", "embeddings")
CALLS = ("sync", "async", "stream", "astream", "batch", "abatch")
TARGETS = ("endpoint", "driver proxy")

_TIMEOUT_S = 0.6
_TIMEOUT_OF_SUCCESS_S = 30.0
_RELEASE_S = 5.0


@dataclass(frozen=True)
class Cell:
    """A call of a component at a target."""

    component: str
    call: str
    target: str

    @property
    def streams(self) -> bool:
        """Whether the call asks for server-sent events."""
        return self.call in ("stream", "astream") and self.component != "embeddings"

    def __str__(self) -> str:
        return f"{self.component}-{self.call}-{self.target}".replace(" ", "_")


CELLS = [Cell(*parts) for parts in product(COMPONENTS, CALLS, TARGETS)]


@dataclass(frozen=True)
class Outcome:
    """What a cell did.

    Attributes:
        mark: ``.`` for success, ``e`` for one of the expected errors, else the violation: ``U`` an
            untyped or unexpected end, ``L`` late, ``S`` a secret in the error, ``C`` an open
            connection.
        detail: The violation in words; else the error.
    """

    mark: str
    detail: str

    @property
    def is_violation(self) -> bool:
        return self.mark not in ".e"


def run_cell(fault: Fault, cell: Cell, margin: float) -> Outcome:
    """Make the call of a cell, and check it.

    Args:
        fault: What the server does.
        cell: The call.
        margin: Seconds that the call may take beyond its deadline.
    """
    expected = fault.expectation(streams=cell.streams)
    with FaultServer(fault.serve, at_accept=fault.at_accept) as server:
        if fault.name == "refused":
            server.__exit__()
        timeout = _TIMEOUT_S if expected else _TIMEOUT_OF_SUCCESS_S
        # The opening of a stream and the wait for its first chunk have a timeout each.
        limit = timeout * (2 if cell.streams else 1) + margin
        component = _component(cell, server.url, timeout)
        error, seconds, released = _call(component, cell, server, fault.text)
    if not released:
        return Outcome("C", f"{server.responding} connections are still open")
    if seconds > limit:
        return Outcome("L", f"took {seconds:.1f} s of {limit:.1f} s: {error!r}")
    if error is None:
        return Outcome(".", "ok") if not expected else Outcome("U", "succeeded")
    text = _everything(error)
    for secret in (TOKEN, KEY):
        if secret in text:
            return Outcome("S", text)
    # A deadline may pass during the retry of any failure.
    if not (expected and isinstance(error, (*expected, RequestTimeoutError))):
        return Outcome("U", "".join(traceback.format_exception(error)))
    return Outcome("e", f"{type(error).__name__}: {error}")


def _component(cell: Cell, url: str, timeout: float) -> Any:
    shared: dict[str, Any] = {
        "host": url,
        "api_token": TOKEN,
        "timeout": timeout,
        "stream_chunk_timeout": timeout,
        "max_retries": 1,
        "max_response_bytes": MAX_RESPONSE_BYTES,
    }
    at_proxy = cell.target != "endpoint"
    if at_proxy:
        shared |= {"cluster_id": "0927-1", "cluster_driver_port": 7777, "driver_api_key": KEY}
    if cell.component == "llm":
        named = {} if at_proxy else {"endpoint_name": "m", "task": "llm/v1/completions"}
        return Databricks(**shared, **named)
    if cell.component == "chat":
        return ChatDatabricks(**shared, **({} if at_proxy else {"model": "m"}))
    one_by_one = cell.call in ("stream", "astream")
    named = {} if at_proxy else {"endpoint": "m"}
    return DatabricksEmbeddings(
        **shared, **named, chunk_size=1, max_concurrency=1 if one_by_one else 8
    )


def _call(
    component: Any, cell: Cell, server: FaultServer, text: str
) -> tuple[BaseException | None, float, bool]:
    """Call; return the error, the seconds, and whether all connections were released."""
    if cell.call in ("async", "astream", "abatch"):
        return asyncio.run(_call_async(component, cell, server, text))
    started = time.monotonic()
    error: BaseException | None = None
    try:
        _check(_result(component, cell), text)
    except Exception as raised:
        error = raised
    seconds = time.monotonic() - started
    # What a call keeps open is not the pool's, which is closed here.
    for key in [key for key in list(sync_transport._adapters) if key == (os.getpid(), server.url)]:
        sync_transport._adapters.pop(key).close()
    end = time.monotonic() + _RELEASE_S
    while server.responding and time.monotonic() < end:
        time.sleep(0.005)
    return error, seconds, not server.responding


async def _call_async(
    component: Any, cell: Cell, server: FaultServer, text: str
) -> tuple[BaseException | None, float, bool]:
    started = time.monotonic()
    error: BaseException | None = None
    try:
        _check(await _result_async(component, cell), text)
    except Exception as raised:
        error = raised
    seconds = time.monotonic() - started
    end = time.monotonic() + _RELEASE_S
    # Before the end of the loop, which closes all its connections.
    while server.responding and time.monotonic() < end:
        await asyncio.sleep(0.005)
    return error, seconds, not server.responding


def _result(component: Any, cell: Cell) -> Any:
    if cell.component == "embeddings":
        texts = ["a"] if cell.call == "sync" else ["a", "b", "c"]
        if cell.call == "sync":
            return [component.embed_query("a")]
        return component.embed_documents(texts)
    if cell.call == "stream":
        return [_joined(component.stream("hi"))]
    return [component.invoke("hi")] if cell.call == "sync" else component.batch(["a", "b", "c"])


async def _result_async(component: Any, cell: Cell) -> Any:
    if cell.component == "embeddings":
        if cell.call == "async":
            return [await component.aembed_query("a")]
        return await component.aembed_documents(["a", "b", "c"])
    if cell.call == "astream":
        return [_joined([chunk async for chunk in component.astream("hi")])]
    if cell.call == "async":
        return [await component.ainvoke("hi")]
    return await component.abatch(["a", "b", "c"])


def _joined(chunks: Any) -> str:
    return "".join(chunk if isinstance(chunk, str) else chunk.text for chunk in chunks)


def _check(results: list[Any], text: str) -> None:
    for result in results:
        good = VECTOR if isinstance(result, list) else text
        assert (result if isinstance(result, str | list) else result.text) == good, result


def _everything(error: BaseException) -> str:
    """Return all text that a log or a table may take from an error."""
    parts = traceback.format_exception(error)
    for one in _chain(error):
        parts += [str(one), repr(one), repr(vars(one))]
    return "\n".join(parts)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def memory_in_use() -> int:
    """Return the bytes of memory that this process uses."""
    with contextlib.suppress(OSError), open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


__all__ = ["CELLS", "Cell", "Outcome", "memory_in_use", "run_cell"]
