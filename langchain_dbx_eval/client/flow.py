"""Calls as generators: written once, run synchronously or with asyncio.

A *flow* is a generator that yields steps and is sent their results, as httpx's `Auth.auth_flow`
does. A step is one of:

- a `Request`: its result is the decoded JSON, or the open body if the request streams;
- an `Attempt` to send a request: its result is the `Response`;
- `Concurrent` flows: its result is the list of their results;
- a `Blocking` call: its result is that of its function, which runs in a thread.

An error of a step is raised at its ``yield``. The timeout of each step counts from the start of the
flow: a call has one deadline, however many logins, requests and retries it consists of.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from langchain_dbx_eval._internal.daemon_threads import result_of, run_all
from langchain_dbx_eval._internal.deadline import TIMEOUT_ERRORS, Deadline
from langchain_dbx_eval._internal.retry import RetryPolicy
from langchain_dbx_eval._internal.runtime import is_notebook
from langchain_dbx_eval.client import sync_transport
from langchain_dbx_eval.client.request import Attempt, Blocking, Request, attempt
from langchain_dbx_eval.client.targets import Target
from langchain_dbx_eval.errors import (
    ConnectionFailedError,
    DatabricksError,
    InvalidResponseError,
    RequestTimeoutError,
)

__all__ = [
    "DEFAULT_CONCURRENCY",
    "Blocking",
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

    Each flow has a deadline of its own. The first error is raised at the step. Flows that have not
    started by then are not started; under asyncio, running ones are canceled.

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
        chunk_timeout: Seconds to wait for the next chunk.
    """

    body: Any
    decoder: StreamDecoder[_Chunk]
    target: Target
    chunk_timeout: float

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


def run(flow: Flow[_Result], started: float | None = None) -> _Result:
    """Run a flow in this thread.

    Args:
        flow: The flow.
        started: When the call started, by `time.monotonic`; default: now.

    Returns:
        The flow's result.

    Raises:
        Exception: What the flow raised.
    """
    started = time.monotonic() if started is None else started
    try:
        step = next(flow)
        while True:
            try:
                value = _perform(step, started)
            except Exception as error:
                step = flow.throw(error)
            else:
                step = flow.send(value)
    except StopIteration as end:
        result: _Result = end.value
        return result


async def run_async(flow: Flow[_Result], started: float | None = None) -> _Result:
    """Run a flow on the running event loop; see `run`."""
    started = time.monotonic() if started is None else started
    try:
        step = next(flow)
        while True:
            try:
                value = await _perform_async(step, started)
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
        deadline = Deadline(opened.chunk_timeout)
        while piece := opened.body.read(deadline.remaining):
            if chunks := opened.decoder.feed(piece):
                yield from chunks
                deadline = Deadline(opened.chunk_timeout)
        yield from opened.decoder.finish()


async def stream_async(flow: Flow[OpenStream[_Chunk] | list[_Chunk]]) -> AsyncIterator[_Chunk]:
    """Run a flow that opens a stream, and read the stream with asyncio; see `stream`."""
    opened = await run_async(flow)
    if isinstance(opened, list):
        for chunk in opened:
            yield chunk
        return
    with opened.reading():
        deadline = Deadline(opened.chunk_timeout)
        while piece := await opened.body.read(deadline.remaining):
            if chunks := opened.decoder.feed(piece):
                for chunk in chunks:
                    yield chunk
                deadline = Deadline(opened.chunk_timeout)
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


@contextmanager
def _reporting_wait(deadline: Deadline) -> Iterator[None]:
    """Say so if a call is given up because the server asks to wait beyond its deadline."""
    try:
        yield
    except DatabricksError as error:
        if error.retry_after is not None and error.retry_after > deadline.remaining:
            error.add_advice(
                f"It asks to wait {error.retry_after:g} s, but the call may take "
                f"timeout={deadline.seconds:g} s in all."
            )
        raise


def _perform(step: Any, started: float) -> Any:
    if isinstance(step, Request):
        deadline = Deadline(step.timeout, started)
        policy = _policy(step, deadline)
        with _reporting_wait(deadline):
            return policy.run(lambda: run(attempt(step, deadline), started))
    if isinstance(step, Attempt):
        return sync_transport.send(step)
    if isinstance(step, Concurrent):
        return run_all([partial(run, flow) for flow in step.flows], step.limit)
    blocking: Blocking = step
    if is_notebook():
        # The context of Databricks' notebooks, from which databricks-sdk logs in, belongs to the
        # thread of the cell.
        return blocking.call.call()
    try:
        return result_of(blocking.call.start(), Deadline(blocking.timeout, started).remaining)
    except TIMEOUT_ERRORS as error:
        raise _login_timeout(blocking) from error


async def _perform_async(step: Any, started: float) -> Any:
    if isinstance(step, Request):
        deadline = Deadline(step.timeout, started)
        policy = _policy(step, deadline)
        with _reporting_wait(deadline):
            return await policy.run_async(lambda: run_async(attempt(step, deadline), started))
    if isinstance(step, Attempt):
        # aiohttp takes most of the package's import time.
        from langchain_dbx_eval.client import async_transport

        return await async_transport.send(step)
    if isinstance(step, Concurrent):
        return await _gather(step.flows, step.limit)
    blocking: Blocking = step
    # Other calls may wait for the same login: the end of this wait must not cancel it.
    login = asyncio.shield(asyncio.wrap_future(blocking.call.start()))
    try:
        return await asyncio.wait_for(login, Deadline(blocking.timeout, started).remaining)
    except TIMEOUT_ERRORS as error:
        raise _login_timeout(blocking) from error


def _policy(request: Request, deadline: Deadline) -> RetryPolicy:
    return RetryPolicy(
        request.max_retries, deadline.remaining, waits_for_start=request.waits_for_start
    )


def _login_timeout(step: Blocking) -> RequestTimeoutError:
    return RequestTimeoutError(
        f"The login to Databricks did not end within timeout={step.timeout:g} s. Check the host "
        "name, the network and the login (run `databricks auth describe`), or raise timeout=."
    )


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
