"""The limiters of four tasks at one endpoint, in simulated time."""

from __future__ import annotations

import asyncio
import random
import selectors
import struct
from collections import deque
from pathlib import Path

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
    """Accepts 20 requests per second, by one of the rules that endpoints have."""

    def __init__(
        self, latency: float, rule: str = "any second", retry_after: float | None = None
    ) -> None:
        self.answered = 0
        self.refused = 0
        self._rule = rule
        self._retry_after = retry_after
        self._latency = latency
        self._counted: deque[float] = deque()
        self._second = -1
        self._tokens, self._filled = 20.0, 0.0

    async def request(self) -> RateLimitError | None:
        if not self._accepts(asyncio.get_running_loop().time()):
            self.refused += 1
            await asyncio.sleep(0.005)
            return RateLimitError("429", status_code=429, retry_after=self._retry_after)
        self.answered += 1
        await asyncio.sleep(self._latency * (1 + 0.3 * random.expovariate(1)))
        return None

    @property
    def share_refused(self) -> float:
        return self.refused / (self.answered + self.refused)

    def _accepts(self, now: float) -> bool:
        if self._rule == "bucket":
            self._tokens = min(20.0, self._tokens + 20 * (now - self._filled))
            self._filled = now
            is_accepted = self._tokens >= 1
            self._tokens -= is_accepted
            return is_accepted
        if self._rule == "each second":
            if int(now + 0.4) != self._second:
                self._second = int(now + 0.4)
                self._counted.clear()
        else:
            while self._counted and self._counted[0] <= now - 1.0:
                self._counted.popleft()
        is_accepted = len(self._counted) < 20
        if is_accepted or self._rule == "any second, refused ones count":
            self._counted.append(now)
        return is_accepted


async def _task(endpoint: _Endpoint, rows: int, concurrency: int, shared: Path | None) -> None:
    limiter = PacedLimiter(concurrency, shared)

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


def _run(
    tasks: int, rows: int, concurrency: int, endpoint: _Endpoint, shared: Path | None = None
) -> float:
    """Return the seconds that `rows` rows take in each of some processes."""
    random.seed(0)
    loop = _SimulatedLoop()

    async def run() -> float:
        one = (_task(endpoint, rows, concurrency, shared) for _ in range(tasks))
        await asyncio.gather(*one)
        return loop.time()

    try:
        return loop.run_until_complete(run())
    finally:
        loop.close()


_RULES = ["any second", "any second, refused ones count", "each second", "bucket"]


@pytest.mark.parametrize("retry_after", [None, 1.0])
@pytest.mark.parametrize("latency", [0.05, 0.5])
def test_a_process_uses_the_rate_that_an_endpoint_allows(retry_after, latency) -> None:
    endpoint = _Endpoint(latency, retry_after=retry_after)
    seconds = _run(1, 2000, 32, endpoint)
    assert 2000 / seconds >= 0.85 * 20
    assert endpoint.share_refused < 0.05


@pytest.mark.parametrize("rule", _RULES)
def test_four_processes_of_a_machine_share_the_rate_in_a_file(rule, tmp_path: Path) -> None:
    endpoint = _Endpoint(0.2, rule)
    seconds = _run(4, 500, 8, endpoint, tmp_path / "pace")
    assert 2000 / seconds >= 0.85 * 20
    assert endpoint.share_refused < 0.05


@pytest.mark.parametrize("rule", _RULES)
def test_four_machines_share_the_rate_without_a_message_between_them(rule) -> None:
    endpoint = _Endpoint(0.2, rule)
    seconds = _run(4, 500, 8, endpoint)
    is_strict = rule == "any second, refused ones count"
    assert 2000 / seconds >= (0.8 if is_strict else 0.85) * 20
    assert endpoint.share_refused < (0.07 if rule in _RULES[1::2] else 0.05)


def test_a_process_that_ends_leaves_its_share_to_the_others(tmp_path: Path) -> None:
    endpoint = _Endpoint(0.2)

    async def run() -> float:
        rows = (100, 100, 100, 1700)
        await asyncio.gather(*(_task(endpoint, n, 8, tmp_path / "pace") for n in rows))
        return asyncio.get_running_loop().time()

    loop = _SimulatedLoop()
    try:
        assert 2000 / loop.run_until_complete(run()) >= 0.85 * 20
    finally:
        loop.close()


def test_an_endpoint_without_a_limit_is_not_slowed_down(tmp_path: Path) -> None:
    class Unlimited(_Endpoint):
        async def request(self) -> None:
            await asyncio.sleep(0.1)

    assert _run(4, 100, 8, Unlimited(0.1), tmp_path / "pace") == pytest.approx(1.3, abs=0.1)


def test_a_file_of_an_earlier_start_of_the_machine_or_with_other_content_is_not_used(
    tmp_path: Path,
) -> None:
    shared = tmp_path / "pace"
    shared.write_bytes(b"x")
    assert _run(1, 100, 8, _Endpoint(0.1), shared) < 10
    written = struct.Struct("d").iter_unpack(shared.read_bytes())
    shared.write_bytes(b"".join(struct.pack("d", value + 1e6) for (value,) in written))
    assert _run(1, 100, 8, _Endpoint(0.1), shared) < 10


def test_a_folder_that_is_deleted_does_not_stop_the_calls(tmp_path: Path) -> None:
    endpoint = _Endpoint(0.1)
    assert _run(1, 200, 8, endpoint, tmp_path / "deleted" / "pace") < 20
    assert endpoint.answered == 200


def test_a_limiter_keeps_its_limit_from_one_task_to_the_next() -> None:
    limiter = PacedLimiter(0)
    for _ in range(3):
        limiter.resize(2)
        assert limiter.limit == 2
        limiter.resize(2)
        assert limiter.limit == 4
        limiter.resize(-2)
        limiter.resize(-2)
