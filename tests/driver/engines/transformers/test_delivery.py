"""When answers are handed over, without a model."""

from __future__ import annotations

from contextlib import closing
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from langchain_dbx_eval.driver.engines.base import Delta, GenerationRequest
from langchain_dbx_eval.driver.engines.transformers.delivery import Outbox
from langchain_dbx_eval.driver.engines.transformers.sequence import Completion

NO_TIME = 0.0


class Answer(Completion):
    """A completion that counts how often it is handed over."""

    def __init__(self, limit: int = 1000) -> None:
        detokenizer: Any = SimpleNamespace(
            end_tokens=(), feed=lambda token: f"{token} ", finish=lambda _: ""
        )
        super().__init__(GenerationRequest("a"), [0], limit, detokenizer)
        self.handed_over = 0

    def hand_over(self) -> None:
        self.handed_over += 1
        super().hand_over()


def of(tokens: int, *, over: bool = True) -> Answer:
    answer = Answer(tokens if over else 1000)
    for token in range(tokens):
        answer.feed(token)
    return answer


def text_of(answer: Completion) -> str:
    with closing(answer.pieces(lambda _: None)) as pieces:
        return "".join(piece.text for piece in pieces)


def filled(answers: list[Answer]) -> Outbox:
    outbox = Outbox()
    for answer in answers:
        outbox.put(answer)
    return outbox


def test_answers_that_end_together_are_handed_over_a_few_a_step() -> None:
    answers = [of(28) for _ in range(24)]
    outbox = filled(answers)
    handed_over = []
    for _ in range(30):
        outbox.step(NO_TIME)
        handed_over.append(sum(answer.handed_over for answer in answers))
    assert handed_over[0] == 3
    assert max(b - a for a, b in pairwise(handed_over)) <= 3
    assert [answer.handed_over for answer in answers] == [1] * 24


def test_a_long_step_hands_all_of_them_over() -> None:
    answers = [of(28) for _ in range(24)]
    filled(answers).step(seconds=0.2)
    assert [answer.handed_over for answer in answers] == [1] * 24


def test_a_short_answer_goes_before_those_that_are_longer() -> None:
    longer = [of(28) for _ in range(8)]
    short = of(4)
    outbox = filled([*longer, short])
    outbox.step(NO_TIME)
    assert short.handed_over == 1


def test_new_short_answers_do_not_pass_by_one_for_long() -> None:
    long_one = of(500)
    outbox = filled([long_one])
    for _ in range(40):
        for _ in range(2):
            outbox.put(of(1))
        outbox.step(NO_TIME)
    assert long_one.handed_over == 1


def test_streams_have_as_many_turns_as_each_other() -> None:
    streams = [of(1, over=False) for _ in range(20)]
    outbox = Outbox()
    for step in range(200):
        for stream in streams:
            stream.feed(step)
            outbox.put(stream)
        outbox.step(NO_TIME)
    turns = [stream.handed_over for stream in streams]
    assert min(turns) > 0.75 * max(turns)


def test_what_comes_of_a_stream_while_it_waits_goes_with_it() -> None:
    stream = of(1, over=False)
    outbox = filled([stream])
    stream.feed(1)
    outbox.put(stream)
    outbox.step(NO_TIME)
    outbox.step(NO_TIME)
    assert stream.handed_over == 1
    with closing(stream.pieces(lambda _: None)) as pieces:
        assert next(pieces) == Delta("0 1 ")


def test_all_are_handed_over_when_there_is_no_further_step() -> None:
    answers = [of(28) for _ in range(24)]
    filled(answers).empty()
    assert [answer.handed_over for answer in answers] == [1] * 24
    assert [text_of(answer) for answer in answers] == [text_of(of(28))] * 24


def test_an_answer_that_nobody_hands_over_is_found_by_the_thread_that_waits_for_it() -> None:
    assert text_of(of(3)) == "0 1 2 "


def test_an_answer_that_fails_gives_what_it_has_first() -> None:
    answer = of(2, over=False)
    answer.fail(ValueError("no more"))
    with closing(answer.pieces(lambda _: None)) as pieces:
        assert next(pieces).text == "0 1 "
        with pytest.raises(ValueError, match="no more"):
            next(pieces)
