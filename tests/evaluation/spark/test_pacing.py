"""The limiters of four tasks at one endpoint, in simulated time."""

from __future__ import annotations

import asyncio
import random
import selectors
from collections import deque

import pytest

from langchain_dbx_eval.errors import RateLimitError
from langchain_dbx_eval.evaluation.spark.pacing import PacedLimiter


class _Selector(selectors.DefaultSelector):
    """A selector that does not wait: it advances the clock instead."""

    now = 0.0

    def select(self, timeout: float | None = None):
        self.now += timeout or 0.0
        return super().select(0)


class _SimulatedLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._clock = _Selector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now


class _Endpoint:
    """Accepts 20 requests in any second, and refuses the others."""

    def __init__(self, retry_after: float | None, latency: float) -> None:
        self.accepted: deque[float] = deque()
        self.refused = 0
        self._retry_after = retry_after
        self._latency = latency

    async def request(self) -> RateLimitError | None:
        now = asyncio.get_running_loop().time()
        if sum(moment > now - 1.0 for moment in list(self.accepted)[-20:]) >= 20:
            self.refused += 1
            await asyncio.sleep(0.005)
            return RateLimitError("429", status_code=429, retry_after=self._retry_after)
        self.accepted.append(now)
        await asyncio.sleep(self._latency)
        return None


async def _task(endpoint: _Endpoint, rows: int, concurrency: int) -> None:
    limiter = PacedLimiter(concurrency)

    async def row() -> None:
        while True:
            error = await endpoint.request()
            if not limiter.on_error(error):
                limiter.on_success()
                break
            assert not limiter.exhausted
            limiter.release()
            await limiter.acquire()
        limiter.release()

    running = set()
    for _ in range(rows):
        await limiter.acquire()
        running.add(asyncio.create_task(row()))
    await asyncio.gather(*running)


def _run(tasks: int, rows: int, concurrency: int, endpoint: _Endpoint) -> float:
    loop = _SimulatedLoop()

    async def run() -> float:
        await asyncio.gather(*(_task(endpoint, rows, concurrency) for _ in range(tasks)))
        return loop.time()

    try:
        return loop.run_until_complete(run())
    finally:
        loop.close()


@pytest.mark.parametrize("retry_after", [None, 1.0])
@pytest.mark.parametrize("latency", [0.05, 0.5])
def test_a_process_with_four_tasks_uses_the_rate_that_an_endpoint_allows(
    retry_after, latency
) -> None:
    random.seed(0)
    endpoint = _Endpoint(retry_after, latency)
    seconds = _run(1, 2000, 32, endpoint)
    assert len(endpoint.accepted) == 2000
    assert 2000 / seconds >= 0.85 * 20
    assert endpoint.refused / (2000 + endpoint.refused) < 0.05


@pytest.mark.parametrize("latency", [0.05, 0.5])
def test_four_processes_share_the_rate_without_a_message_between_them(latency) -> None:
    random.seed(0)
    endpoint = _Endpoint(None, latency)
    seconds = _run(4, 500, 8, endpoint)
    assert 2000 / seconds >= 0.75 * 20
    assert endpoint.refused / (2000 + endpoint.refused) < 0.06


def test_an_endpoint_without_a_limit_is_not_slowed_down() -> None:
    class Unlimited(_Endpoint):
        async def request(self) -> None:
            await asyncio.sleep(0.1)

    assert _run(4, 100, 8, Unlimited(None, 0.1)) == pytest.approx(1.3, abs=0.1)


def test_a_limiter_keeps_its_limit_from_one_task_to_the_next() -> None:
    limiter = PacedLimiter(0)
    for _ in range(3):
        limiter.resize(2)
        assert limiter.limit == 2
        limiter.resize(2)
        assert limiter.limit == 4
        limiter.resize(-2)
        limiter.resize(-2)
