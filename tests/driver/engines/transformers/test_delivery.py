"""The order of deliveries, without a model."""

from __future__ import annotations

from contextlib import closing
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from langchain_dbx_eval.driver.engines.base import Delta, GenerationRequest
from langchain_dbx_eval.driver.engines.transformers.delivery import DeliveryQueue
from langchain_dbx_eval.driver.engines.transformers.sequence import TokenSequence

SHORT_STEP = 0.0


class CountingSequence(TokenSequence):
    """A sequence that counts its deliveries."""

    def __init__(self, max_new_tokens: int = 1000) -> None:
        detokenizer: Any = SimpleNamespace(
            end_tokens=(), feed=lambda token: f"{token} ", finish=lambda _: ""
        )
        super().__init__(GenerationRequest("a"), [0], max_new_tokens, detokenizer)
        self.deliveries = 0

    def notify(self) -> None:
        self.deliveries += 1
        super().notify()


def sequence_of(tokens: int, *, finished: bool = True) -> CountingSequence:
    sequence = CountingSequence(tokens if finished else 1000)
    for token in range(tokens):
        sequence.feed(token)
    return sequence


def text_of(sequence: TokenSequence) -> str:
    with closing(sequence.deltas(lambda _: None)) as deltas:
        return "".join(delta.text for delta in deltas)


def queue_of(sequences: list[CountingSequence]) -> DeliveryQueue:
    queue = DeliveryQueue()
    for sequence in sequences:
        queue.put(sequence)
    return queue


def test_sequences_that_finish_together_are_delivered_a_few_per_step() -> None:
    sequences = [sequence_of(28) for _ in range(24)]
    queue = queue_of(sequences)
    delivered = []
    for _ in range(30):
        queue.step(SHORT_STEP)
        delivered.append(sum(sequence.deliveries for sequence in sequences))
    assert delivered[0] == 3
    assert max(b - a for a, b in pairwise(delivered)) <= 3
    assert [sequence.deliveries for sequence in sequences] == [1] * 24


def test_all_are_delivered_after_a_long_step() -> None:
    sequences = [sequence_of(28) for _ in range(24)]
    queue_of(sequences).step(seconds=0.2)
    assert [sequence.deliveries for sequence in sequences] == [1] * 24


def test_short_sequences_are_delivered_before_long_ones() -> None:
    longer = [sequence_of(28) for _ in range(8)]
    short = sequence_of(4)
    queue = queue_of([*longer, short])
    queue.step(SHORT_STEP)
    assert short.deliveries == 1


def test_new_short_sequences_do_not_starve_a_long_one() -> None:
    long_one = sequence_of(500)
    queue = queue_of([long_one])
    for _ in range(40):
        for _ in range(2):
            queue.put(sequence_of(1))
        queue.step(SHORT_STEP)
    assert long_one.deliveries == 1


def test_streams_have_equal_numbers_of_deliveries() -> None:
    streams = [sequence_of(1, finished=False) for _ in range(20)]
    queue = DeliveryQueue()
    for step in range(200):
        for stream in streams:
            stream.feed(step)
            queue.put(stream)
        queue.step(SHORT_STEP)
    deliveries = [stream.deliveries for stream in streams]
    assert min(deliveries) > 0.75 * max(deliveries)


def test_text_generated_while_a_stream_is_queued_is_delivered_with_it() -> None:
    stream = sequence_of(1, finished=False)
    queue = queue_of([stream])
    stream.feed(1)
    queue.put(stream)
    queue.step(SHORT_STEP)
    queue.step(SHORT_STEP)
    assert stream.deliveries == 1
    with closing(stream.deltas(lambda _: None)) as deltas:
        assert next(deltas) == Delta("0 1 ")


def test_flush_delivers_all() -> None:
    sequences = [sequence_of(28) for _ in range(24)]
    queue_of(sequences).flush()
    assert [sequence.deliveries for sequence in sequences] == [1] * 24
    assert [text_of(sequence) for sequence in sequences] == [text_of(sequence_of(28))] * 24


def test_a_waiting_thread_reads_a_sequence_that_is_not_delivered() -> None:
    assert text_of(sequence_of(3)) == "0 1 2 "


def test_a_failed_sequence_yields_its_text_before_the_error() -> None:
    sequence = sequence_of(2, finished=False)
    sequence.fail(ValueError("no more"))
    with closing(sequence.deltas(lambda _: None)) as deltas:
        assert next(deltas).text == "0 1 "
        with pytest.raises(ValueError, match="no more"):
            next(deltas)
