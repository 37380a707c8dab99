"""Polling for a condition in an event loop, with a generous deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

TIMEOUT_S = 60


async def wait_until_async(condition: Callable[[], object]) -> None:
    """Wait until a condition holds, without blocking the event loop."""
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true"
        await asyncio.sleep(0.01)
