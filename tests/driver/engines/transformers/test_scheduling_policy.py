"""Whose turn it is, without a model."""

from __future__ import annotations

from collections import Counter

import pytest

from langchain_dbx_eval.driver.engines.transformers.scheduling_policy import Turns


def steps(turns: Turns, limits: dict[str, int], count: int) -> list[list[str]]:
    """The rows of the next steps, all of whose places are taken."""
    taken = []
    for _ in range(count):
        names, places = turns.next(limits)
        taken.append(names[:places])
        for name in taken[-1]:
            turns.took(name)
    return taken


def long_ones(count: int) -> dict[str, int]:
    return {f"long {number}": 100 for number in range(count)}


def test_a_step_has_no_more_rows_than_it_may() -> None:
    assert {len(rows) for rows in steps(Turns(32), long_ones(64), 10)} == {32}


def test_everybody_has_as_many_turns_as_the_others() -> None:
    turns = Counter(name for rows in steps(Turns(32), long_ones(48), 30) for name in rows)
    assert set(turns.values()) == {20}


def test_a_short_request_is_in_every_step_and_the_steps_are_small() -> None:
    taken = steps(Turns(32), {**long_ones(63), "short": 4}, 50)
    assert all("short" in rows for rows in taken[1:])
    assert {len(rows) for rows in taken} == {4}


@pytest.mark.parametrize("shorts", [1, 5, 20, 40])
def test_short_requests_starve_nobody(shorts: int) -> None:
    limits = {**long_ones(24), **{f"short {number}": 4 for number in range(shorts)}}
    turns = Counter(name for rows in steps(Turns(32), limits, 100) for name in rows)
    assert min(turns.values()) >= 100 * 2 // len(limits)


def test_a_flood_of_new_requests_does_not_pass_by_those_that_wait() -> None:
    turns = Turns(4)
    old = {f"old {number}": 100 for number in range(8)}
    served: Counter[str] = Counter()
    for step in range(40):
        new = {f"new {step} {number}": 100 for number in range(6)}
        (rows,) = steps(turns, {**old, **new}, 1)
        served.update(rows)
    assert min(served[name] for name in old) >= 10


def test_answers_of_like_lengths_are_all_in_one_step() -> None:
    limits = {**long_ones(7), "shorter": 60}
    assert [sorted(rows) for rows in steps(Turns(32), limits, 3)] == [sorted(limits)] * 3


def test_who_left_is_forgotten() -> None:
    turns = Turns(2)
    steps(turns, long_ones(3), 5)
    assert turns.next({"other": 1})[0] == ["other"]
    assert list(turns._line) == ["other"]
