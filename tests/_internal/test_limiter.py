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
    monkeypatch.setattr(pace_module, "_SHORTEST_PAUSE_S", 0.0)


async def in_flight(pace: AdaptiveLimiter, count: int) -> None:
    for _ in range(count):
        await asyncio.wait_for(pace.acquire(), 2)


async def test_no_more_rows_than_slots_are_in_flight():
    pace = AdaptiveLimiter(2)
    await in_flight(pace, 2)

    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(pace.acquire(), 0.05)


async def test_a_slot_that_is_given_back_goes_to_who_waits():
    pace = AdaptiveLimiter(1)
    await pace.acquire()
    waiting = [asyncio.create_task(pace.acquire()) for _ in range(3)]
    await asyncio.sleep(0)

    for _ in range(3):
        pace.release()
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.wait_for(asyncio.gather(*waiting), 2)


async def test_a_waiter_that_was_cancelled_takes_nothing_with_it():
    pace = AdaptiveLimiter(1)
    await pace.acquire()
    gone, staying = (asyncio.create_task(pace.acquire()) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    pace.release()

    await asyncio.wait_for(staying, 2)


async def test_a_refusal_halves_the_slots_once_for_all_rows_on_their_way():
    pace = AdaptiveLimiter(32)
    await in_flight(pace, 32)

    for _ in range(32):
        pace.on_error(REFUSAL)

    assert pace.slots == 16


@pytest.mark.usefixtures("_no_pause")
async def test_refusals_that_go_on_end_at_one_slot():
    pace = AdaptiveLimiter(32)
    for _ in range(7):
        pace.on_error(REFUSAL)

    assert pace.slots == 1


async def test_all_wait_as_long_as_the_answer_asks():
    pace = AdaptiveLimiter(4)
    loop = asyncio.get_running_loop()
    pace.on_error(errors.RateLimitError("slow", status_code=429, retry_after=0.7))
    began = loop.time()
    await asyncio.gather(pace.acquire(), pace.acquire())

    assert loop.time() - began >= 0.69


@pytest.mark.usefixtures("_no_pause")
async def test_answers_bring_the_slots_back_one_a_round_and_never_beyond_the_most():
    pace = AdaptiveLimiter(8)
    pace.on_error(REFUSAL)
    pace.on_error(REFUSAL)
    assert pace.slots == 2

    for _ in range(3):
        pace.on_success()
    assert pace.slots == 3
    for _ in range(200):
        pace.on_success()
    assert pace.slots == 8


@pytest.mark.usefixtures("_no_pause")
async def test_nothing_but_refusals_is_hopeless_until_an_answer_comes():
    pace = AdaptiveLimiter(4)
    for _ in range(8):
        pace.on_error(REFUSAL)
    assert pace.exhausted

    pace.on_success()
    assert not pace.exhausted


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
    pace = AdaptiveLimiter(8)

    assert pace.on_error(error) is is_refusal
    assert pace.slots == (4 if is_refusal else 8)
