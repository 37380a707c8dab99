"""`AdaptiveLimiter`: concurrent calls while an endpoint answers 429."""

from __future__ import annotations

import asyncio

import pytest

from langchain_dbx_eval import errors
from langchain_dbx_eval._internal import limiter as limiter_module
from langchain_dbx_eval._internal.limiter import AdaptiveLimiter

RATE_LIMIT_ERROR = errors.RateLimitError("slow down", status_code=429)


@pytest.fixture
def _no_pause(monkeypatch):
    monkeypatch.setattr(limiter_module, "_MIN_PAUSE_S", 0.0)


async def in_flight(limiter: AdaptiveLimiter, count: int) -> None:
    for _ in range(count):
        await asyncio.wait_for(limiter.acquire(), 2)


async def test_no_more_calls_than_the_limit_are_in_flight():
    limiter = AdaptiveLimiter(2)
    await in_flight(limiter, 2)

    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(limiter.acquire(), 0.05)


async def test_a_released_slot_goes_to_a_waiting_call():
    limiter = AdaptiveLimiter(1)
    await limiter.acquire()
    waiting = [asyncio.create_task(limiter.acquire()) for _ in range(3)]
    await asyncio.sleep(0)

    for _ in range(3):
        limiter.release()
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.wait_for(asyncio.gather(*waiting), 2)


async def test_a_canceled_waiter_does_not_lose_its_slot():
    limiter = AdaptiveLimiter(1)
    await limiter.acquire()
    canceled, waiting = (asyncio.create_task(limiter.acquire()) for _ in range(2))
    await asyncio.sleep(0)
    canceled.cancel()
    await asyncio.sleep(0)
    limiter.release()

    await asyncio.wait_for(waiting, 2)


async def test_the_429s_of_calls_in_flight_halve_the_limit_once():
    limiter = AdaptiveLimiter(32)
    await in_flight(limiter, 32)

    for _ in range(32):
        limiter.on_error(RATE_LIMIT_ERROR)

    assert limiter.limit == 16


@pytest.mark.usefixtures("_no_pause")
async def test_repeated_429s_lower_the_limit_to_one():
    limiter = AdaptiveLimiter(32)
    for _ in range(7):
        limiter.on_error(RATE_LIMIT_ERROR)

    assert limiter.limit == 1


async def test_all_calls_wait_for_retry_after():
    limiter = AdaptiveLimiter(4)
    loop = asyncio.get_running_loop()
    limiter.on_error(errors.RateLimitError("slow", status_code=429, retry_after=0.7))
    started = loop.time()
    await asyncio.gather(limiter.acquire(), limiter.acquire())

    assert loop.time() - started >= 0.69


@pytest.mark.usefixtures("_no_pause")
async def test_successes_raise_the_limit_by_one_per_round_up_to_the_maximum():
    limiter = AdaptiveLimiter(8)
    limiter.on_error(RATE_LIMIT_ERROR)
    limiter.on_error(RATE_LIMIT_ERROR)
    assert limiter.limit == 2

    for _ in range(3):
        limiter.on_success()
    assert limiter.limit == 3
    for _ in range(200):
        limiter.on_success()
    assert limiter.limit == 8


async def test_a_429_that_requests_too_long_a_wait_neither_pauses_nor_is_repeated():
    limiter = AdaptiveLimiter(8)
    for seconds in (86_400, float("inf")):
        error = errors.RateLimitError("slow", status_code=429, retry_after=seconds)
        assert not limiter.on_error(error)
        assert not limiter.on_error(error, max_wait=60)
    assert limiter.on_error(errors.RateLimitError("slow", status_code=429, retry_after=5))
    await asyncio.wait_for(limiter.acquire(), 30)


async def test_a_call_that_is_canceled_while_it_waits_again_has_one_slot_to_return():
    limiter = AdaptiveLimiter(1)
    await limiter.acquire()
    limiter.on_error(RATE_LIMIT_ERROR)
    waiting = asyncio.create_task(limiter.reacquire())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    limiter.release()
    await in_flight(limiter, 1)
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(limiter.acquire(), 0.05)


@pytest.mark.usefixtures("_no_pause")
async def test_repeated_429s_exhaust_the_limiter_until_a_success():
    limiter = AdaptiveLimiter(4)
    for _ in range(8):
        limiter.on_error(RATE_LIMIT_ERROR)
    assert limiter.exhausted

    limiter.on_success()
    assert not limiter.exhausted


class OtherClientError(Exception):
    def __init__(self, status: int) -> None:
        self.response = type("Answer", (), {"status_code": status})


def caused(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.usefixtures("_no_pause")
@pytest.mark.parametrize(
    ("error", "is_rate_limit"),
    [
        (RATE_LIMIT_ERROR, True),
        (OtherClientError(429), True),
        (caused(ValueError("the model failed"), OtherClientError(429)), True),
        (OtherClientError(500), False),
        (ValueError("429"), False),
        (None, False),
    ],
)
async def test_a_429_of_any_client_is_recognized_and_nothing_else(error, is_rate_limit):
    limiter = AdaptiveLimiter(8)

    assert limiter.on_error(error) is is_rate_limit
    assert limiter.limit == (4 if is_rate_limit else 8)
