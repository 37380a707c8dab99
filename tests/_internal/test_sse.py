"""Server-sent events, cut into chunks at any byte."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from langchain_dbx_eval._internal.sse import EventDecoder

STREAM = (
    ": keep-alive\n\n"
    'event: message\ndata: {"a": "é한"}\n\n'
    "data:no space\r\n\r\n"
    "data: two\ndata: lines\nid: 7\n\n"
    "data: [DONE]\n\n"
).encode()
EVENTS = ['{"a": "é한"}', "no space", "two\nlines", "[DONE]"]


def events(chunks: list[bytes]) -> list[str]:
    decoder = EventDecoder()
    return [event for chunk in chunks for event in decoder.feed(chunk)] + decoder.finish()


def test_comments_and_fields_without_data_are_skipped() -> None:
    assert events([STREAM]) == EVENTS


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_the_chunk_boundaries_do_not_change_the_events(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    chunks = [STREAM[a:b] for a, b in pairwise(edges)]
    assert events(chunks) == EVENTS


def test_a_last_event_without_its_blank_line_is_returned() -> None:
    assert events([b"data: a\n\ndata: b"]) == ["a", "b"]


@given(st.lists(st.binary()))
def test_any_bytes_are_decoded_without_an_error(chunks: list[bytes]) -> None:
    assert all(isinstance(event, str) for event in events(chunks))
