"""How many rows are in flight, when the endpoint says that it is too many."""

from __future__ import annotations

import asyncio

import pytest

from langchain_dbx_eval import errors
from langchain_dbx_eval._internal import limiter as pace_module
from langchain_dbx_eval._internal.limiter import AdaptiveLimiter

REFUSAL = errors.RateLimitError("slow down", status_code=429)


@pytest.fixture
def _no_pause(monkeypatch):
    monkeypatch.setattr(pace_module, "_MIN_PAUSE_S", 0.0)


async def in_flight(limiter: AdaptiveLimiter, count: int) -> None:
    for _ in range(count):
        await asyncio.wait_for(limiter.acquire(), 2)


async def test_no_more_rows_than_slots_are_in_flight():
    limiter = AdaptiveLimiter(2)
    await in_flight(limiter, 2)

    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(limiter.acquire(), 0.05)


async def test_a_slot_that_is_given_back_goes_to_who_waits():
    limiter = AdaptiveLimiter(1)
    await limiter.acquire()
    waiting = [asyncio.create_task(limiter.acquire()) for _ in range(3)]
    await asyncio.sleep(0)

    for _ in range(3):
        limiter.release()
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.wait_for(asyncio.gather(*waiting), 2)


async def test_a_waiter_that_was_cancelled_takes_nothing_with_it():
    limiter = AdaptiveLimiter(1)
    await limiter.acquire()
    gone, staying = (asyncio.create_task(limiter.acquire()) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    limiter.release()

    await asyncio.wait_for(staying, 2)


async def test_a_refusal_halves_the_slots_once_for_all_rows_on_their_way():
    limiter = AdaptiveLimiter(32)
    await in_flight(limiter, 32)

    for _ in range(32):
        limiter.on_error(REFUSAL)

    assert limiter.limit == 16


@pytest.mark.usefixtures("_no_pause")
async def test_refusals_that_go_on_end_at_one_slot():
    limiter = AdaptiveLimiter(32)
    for _ in range(7):
        limiter.on_error(REFUSAL)

    assert limiter.limit == 1


async def test_all_wait_as_long_as_the_answer_asks():
    limiter = AdaptiveLimiter(4)
    loop = asyncio.get_running_loop()
    limiter.on_error(errors.RateLimitError("slow", status_code=429, retry_after=0.7))
    began = loop.time()
    await asyncio.gather(limiter.acquire(), limiter.acquire())

    assert loop.time() - began >= 0.69


@pytest.mark.usefixtures("_no_pause")
async def test_answers_bring_the_slots_back_one_a_round_and_never_beyond_the_most():
    limiter = AdaptiveLimiter(8)
    limiter.on_error(REFUSAL)
    limiter.on_error(REFUSAL)
    assert limiter.limit == 2

    for _ in range(3):
        limiter.on_success()
    assert limiter.limit == 3
    for _ in range(200):
        limiter.on_success()
    assert limiter.limit == 8


@pytest.mark.usefixtures("_no_pause")
async def test_nothing_but_refusals_is_hopeless_until_an_answer_comes():
    limiter = AdaptiveLimiter(4)
    for _ in range(8):
        limiter.on_error(REFUSAL)
    assert limiter.exhausted

    limiter.on_success()
    assert not limiter.exhausted


class OthersError(Exception):
    def __init__(self, status: int) -> None:
        self.response = type("Answer", (), {"status_code": status})


def caused(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.usefixtures("_no_pause")
@pytest.mark.parametrize(
    ("error", "is_refusal"),
    [
        (REFUSAL, True),
        (OthersError(429), True),
        (caused(ValueError("the model failed"), OthersError(429)), True),
        (OthersError(500), False),
        (ValueError("429"), False),
        (None, False),
    ],
)
async def test_anybodys_429_is_a_refusal_and_nothing_else(error, is_refusal):
    limiter = AdaptiveLimiter(8)

    assert limiter.on_error(error) is is_refusal
    assert limiter.limit == (4 if is_refusal else 8)
