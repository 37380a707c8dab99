"""All methods of calling a chain, each with several inputs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig


def invoke(chain: Runnable[Any, Any], inputs: list[Any], config: RunnableConfig) -> None:
    for value in inputs:
        chain.invoke(value, config)


def batch(chain: Runnable[Any, Any], inputs: list[Any], config: RunnableConfig) -> None:
    chain.batch(inputs, config)


def stream(chain: Runnable[Any, Any], inputs: list[Any], config: RunnableConfig) -> None:
    for value in inputs:
        list(chain.stream(value, config))


def threads(chain: Runnable[Any, Any], inputs: list[Any], config: RunnableConfig) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda value: chain.invoke(value, config), inputs))


def ainvoke(chain: Runnable[Any, Any], inputs: list[Any], config: RunnableConfig) -> None:
    async def invoke_each() -> None:
        for value in inputs:
            await chain.ainvoke(value, config)

    asyncio.run(invoke_each())


def abatch(chain: Runnable[Any, Any], inputs: list[Any], config: RunnableConfig) -> None:
    asyncio.run(chain.abatch(inputs, config))


def gather(chain: Runnable[Any, Any], inputs: list[Any], config: RunnableConfig) -> None:
    _run_all(lambda value: chain.ainvoke(value, config), inputs)


def astream(chain: Runnable[Any, Any], inputs: list[Any], config: RunnableConfig) -> None:
    async def read(value: Any) -> None:
        async for _ in chain.astream(value, config):
            pass

    _run_all(read, inputs)


def astream_events(chain: Runnable[Any, Any], inputs: list[Any], config: RunnableConfig) -> None:
    async def read(value: Any) -> None:
        async for _ in chain.astream_events(value, config, version="v2"):
            pass

    _run_all(read, inputs)


METHODS = [invoke, batch, stream, threads, ainvoke, abatch, gather, astream, astream_events]


def _run_all(call: Callable[[Any], Awaitable[Any]], inputs: list[Any]) -> None:
    async def run() -> None:
        await asyncio.gather(*map(call, inputs))

    asyncio.run(run())
