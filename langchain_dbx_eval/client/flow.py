"""Calls as generators: written once, run synchronously or with asyncio.

A *flow* is a generator that yields steps and is sent their results, as httpx's `Auth.auth_flow`
does. A step is one of:

- a `Request`: its result is the decoded JSON, or the open body if the request streams;
- an `Attempt` to send a request: its result is the `Response`;
- `Concurrent` flows: its result is the list of their results;
- a function without arguments that blocks: its result is the function's. Under asyncio, it runs in
  a thread.

An error of a step is raised at its ``yield``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from langchain_core.runnables.config import ContextThreadPoolExecutor

from langchain_dbx_eval._internal.deadline import Deadline
from langchain_dbx_eval.client import sync_transport
from langchain_dbx_eval.client.request import Attempt, Request, attempt
from langchain_dbx_eval.client.targets import Target
from langchain_dbx_eval.errors import (
    ConnectionFailedError,
    InvalidResponseError,
    RequestTimeoutError,
)

__all__ = [
    "DEFAULT_CONCURRENCY",
    "Concurrent",
    "Flow",
    "OpenStream",
    "naming_target",
    "run",
    "run_async",
    "stream",
    "stream_async",
]

DEFAULT_CONCURRENCY = 32
"""Concurrent calls. They wait for a network, so LangChain's default (CPUs + 4) would be too low."""

_Result = TypeVar("_Result")
_Chunk = TypeVar("_Chunk")

Flow = Generator[Any, Any, _Result]
"""A generator of steps that returns a result."""


@dataclass(frozen=True)
class Concurrent(Generic[_Result]):
    """Flows to run concurrently.

    The first error is raised at the step. Flows that have not started by then are not started;
    under asyncio, running ones are canceled.

    Attributes:
        flows: The flows.
        limit: The largest number of flows that run at the same time.
    """

    flows: Sequence[Flow[_Result]]
    limit: int = DEFAULT_CONCURRENCY


class StreamDecoder(Protocol[_Chunk]):
    """Decoder of a streamed body."""

    def feed(self, piece: bytes) -> list[_Chunk]:
        """Return the chunks that a piece of the body completes."""
        ...

    def finish(self) -> list[_Chunk]:
        """Return the last chunks; raise if the body is incomplete."""
        ...

    def interrupted(self, error: Exception) -> Exception | None:
        """Return the error for a lost connection; None if nothing was decoded before."""
        ...


@dataclass(frozen=True)
class OpenStream(Generic[_Chunk]):
    """A streamed response.

    Attributes:
        body: The open body.
        decoder: Its decoder.
        target: What was called, for messages.
    """

    body: Any
    decoder: StreamDecoder[_Chunk]
    target: Target

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Close the body at the end, and convert the errors of reading it."""
        try:
            with naming_target(self.target):
                yield
        except (ConnectionFailedError, RequestTimeoutError) as error:
            interrupted = self.decoder.interrupted(error)
            if interrupted is None:
                raise
            raise interrupted from error
        finally:
            self.body.close()


def run(flow: Flow[_Result]) -> _Result:
    """Run a flow in this thread.

    Returns:
        The flow's result.

    Raises:
        Exception: What the flow raised.
    """
    try:
        step = next(flow)
        while True:
            try:
                value = _perform(step)
            except Exception as error:
                step = flow.throw(error)
            else:
                step = flow.send(value)
    except StopIteration as end:
        result: _Result = end.value
        return result


async def run_async(flow: Flow[_Result]) -> _Result:
    """Run a flow on the running event loop; see `run`."""
    try:
        step = next(flow)
        while True:
            try:
                value = await _perform_async(step)
            except Exception as error:
                step = flow.throw(error)
            else:
                step = flow.send(value)
    except StopIteration as end:
        result: _Result = end.value
        return result


def stream(flow: Flow[OpenStream[_Chunk] | list[_Chunk]]) -> Iterator[_Chunk]:
    """Run a flow that opens a stream, and read the stream in this thread.

    Args:
        flow: Returns the open stream, or the chunks if they are known already.

    Yields:
        The decoded chunks, as they arrive.

    Raises:
        StreamInterruptedError: The connection was lost after the first chunk.
        DatabricksError: As the flow and the decoder raise.
    """
    opened = run(flow)
    if isinstance(opened, list):
        yield from opened
        return
    with opened.reading():
        while piece := opened.body.read():
            yield from opened.decoder.feed(piece)
        yield from opened.decoder.finish()


async def stream_async(flow: Flow[OpenStream[_Chunk] | list[_Chunk]]) -> AsyncIterator[_Chunk]:
    """Run a flow that opens a stream, and read the stream with asyncio; see `stream`."""
    opened = await run_async(flow)
    if isinstance(opened, list):
        for chunk in opened:
            yield chunk
        return
    with opened.reading():
        while piece := await opened.body.read():
            for chunk in opened.decoder.feed(piece):
                yield chunk
        for chunk in opened.decoder.finish():
            yield chunk


@contextmanager
def naming_target(target: Target) -> Iterator[None]:
    """Add the target to an error about the shape of its response."""
    try:
        yield
    except InvalidResponseError as error:
        if error.target is not None:
            raise
        msg = f"{target.title}: {error}"
        raise InvalidResponseError(msg, target=str(target)) from None


def _perform(step: Any) -> Any:
    if isinstance(step, Request):
        deadline = Deadline(step.timeout)
        return step.policy.run(lambda: run(attempt(step, deadline)))
    if isinstance(step, Attempt):
        return sync_transport.send(step)
    if isinstance(step, Concurrent):
        return _run_in_threads(step.flows, step.limit)
    return step()


async def _perform_async(step: Any) -> Any:
    if isinstance(step, Request):
        deadline = Deadline(step.timeout)
        return await step.policy.run_async(lambda: run_async(attempt(step, deadline)))
    if isinstance(step, Attempt):
        # aiohttp takes most of the package's import time.
        from langchain_dbx_eval.client import async_transport

        return await async_transport.send(step)
    if isinstance(step, Concurrent):
        return await _gather(step.flows, step.limit)
    return await asyncio.to_thread(step)


def _run_in_threads(flows: Sequence[Flow[Any]], limit: int) -> list[Any]:
    if len(flows) <= 1 or limit == 1:
        return [run(flow) for flow in flows]
    with ContextThreadPoolExecutor(min(limit, len(flows))) as pool:
        # The iterator of `map` cancels what has not started when a result raises.
        return list(pool.map(run, flows))


async def _gather(flows: Sequence[Flow[Any]], limit: int) -> list[Any]:
    # langchain-core 1.7's `gather_with_concurrency` lets the other tasks run on after a failure.
    slots = asyncio.Semaphore(limit)

    async def run_in_slot(flow: Flow[Any]) -> Any:
        async with slots:
            try:
                return await run_async(flow)
            except BaseException:
                # Before the slot is free: no other flow starts in it.
                for task in tasks:
                    if task is not asyncio.current_task():
                        task.cancel()
                raise

    tasks = [asyncio.create_task(run_in_slot(flow)) for flow in flows]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
