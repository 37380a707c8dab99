"""The selection of the rows of each step, without a model."""

from __future__ import annotations

from collections import Counter

import pytest

from langchain_dbx_eval.driver.engines.transformers.scheduling_policy import ShortFirstPolicy


def steps(policy: ShortFirstPolicy, limits: dict[str, int], count: int) -> list[list[str]]:
    """Return the rows of the next steps, each filled completely."""
    selected = []
    for _ in range(count):
        names, rows = policy.select(limits)
        selected.append(names[:rows])
        for name in selected[-1]:
            policy.mark_scheduled(name)
    return selected


def long_sequences(count: int) -> dict[str, int]:
    return {f"long {number}": 100 for number in range(count)}


def test_a_step_has_at_most_the_maximum_number_of_rows() -> None:
    assert {len(rows) for rows in steps(ShortFirstPolicy(32), long_sequences(64), 10)} == {32}


def test_equal_sequences_have_equal_numbers_of_steps() -> None:
    counts = Counter(
        name for rows in steps(ShortFirstPolicy(32), long_sequences(48), 30) for name in rows
    )
    assert set(counts.values()) == {20}


def test_a_short_sequence_is_in_every_step_and_the_steps_are_small() -> None:
    selected = steps(ShortFirstPolicy(32), {**long_sequences(63), "short": 4}, 50)
    assert all("short" in rows for rows in selected[1:])
    assert {len(rows) for rows in selected} == {4}


@pytest.mark.parametrize("shorts", [1, 5, 20, 40])
def test_short_sequences_do_not_starve_the_others(shorts: int) -> None:
    limits = {**long_sequences(24), **{f"short {number}": 4 for number in range(shorts)}}
    counts = Counter(name for rows in steps(ShortFirstPolicy(32), limits, 100) for name in rows)
    assert min(counts.values()) >= 100 * 2 // len(limits)


def test_many_new_sequences_do_not_starve_waiting_ones() -> None:
    policy = ShortFirstPolicy(4)
    old = {f"old {number}": 100 for number in range(8)}
    served: Counter[str] = Counter()
    for step in range(40):
        new = {f"new {step} {number}": 100 for number in range(6)}
        (rows,) = steps(policy, {**old, **new}, 1)
        served.update(rows)
    assert min(served[name] for name in old) >= 10


def test_sequences_of_similar_lengths_are_all_in_one_step() -> None:
    limits = {**long_sequences(7), "shorter": 60}
    assert [sorted(rows) for rows in steps(ShortFirstPolicy(32), limits, 3)] == [sorted(limits)] * 3


def test_finished_sequences_are_removed_from_the_queue() -> None:
    policy = ShortFirstPolicy(2)
    steps(policy, long_sequences(3), 5)
    assert policy.select({"other": 1})[0] == ["other"]
    assert list(policy._queue) == ["other"]
