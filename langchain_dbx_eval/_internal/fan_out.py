"""Many calls at once, as many as a server is asked to bear: in threads, or as tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["DEFAULT_CONCURRENCY", "fan_out", "fan_out_async"]

DEFAULT_CONCURRENCY = 32
"""Calls that wait for a network need no CPU each: LangChain's own default (CPUs + 4) starves them.
"""

_In = TypeVar("_In")
_Out = TypeVar("_Out")


def fan_out(
    call: Callable[[_In], _Out], inputs: Sequence[_In], concurrency: int = DEFAULT_CONCURRENCY
) -> list[_Out]:
    """Call a function for each input, in threads; one failure ends what has not begun."""
    if len(inputs) <= 1 or concurrency == 1:
        return [call(item) for item in inputs]
    with ThreadPoolExecutor(min(concurrency, len(inputs))) as pool:
        futures = [pool.submit(call, item) for item in inputs]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


async def fan_out_async(
    call: Callable[[_In], Awaitable[_Out]],
    inputs: Sequence[_In],
    concurrency: int = DEFAULT_CONCURRENCY,
) -> list[_Out]:
    """Await a function for each input; one failure ends the others."""
    slots = asyncio.Semaphore(concurrency)

    async def bounded(item: _In) -> _Out:
        async with slots:
            return await call(item)

    tasks = [asyncio.ensure_future(bounded(item)) for item in inputs]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
