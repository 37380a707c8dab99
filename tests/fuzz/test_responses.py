"""Responses of any JSON and streams of any bytes: decoded, or a typed error."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_dbx_eval._internal.sse import EventDecoder
from langchain_dbx_eval.client.error_responses import error_from_response
from langchain_dbx_eval.client.targets import ServingEndpoint
from langchain_dbx_eval.errors import DatabricksError
from langchain_dbx_eval.wire.stream_reader import StreamReader
from langchain_dbx_eval.wire.tasks import (
    CHAT,
    COMPLETIONS,
    CUSTOM_MODEL,
    DRIVER_APP,
    EMBEDDINGS,
    RESPONSES,
    chat_codec,
    embeddings_codec,
    text_codec,
)

FUZZ = settings(max_examples=int(os.environ.get("DBX_EVAL_FUZZ_EXAMPLES", "50")))
_WORDS = """choices message delta content text role tool_calls function name arguments id index
    usage prompt_tokens total_tokens finish_reason data embedding error error_code messages output
    type predictions item model logprobs refusal annotations summary status custom_outputs response
"""
KEYS = _WORDS.split()
VALUES = [
    *KEYS,
    "assistant",
    "user",
    "function_call",
    "output_text",
    "response.completed",
    "[DONE]",
]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(VALUES)
)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=3), inner, max_size=5)
    ),
    max_leaves=12,
)
CHOICES = st.fixed_dictionaries({"choices": st.lists(JSON, max_size=2)})
TEXTS = [COMPLETIONS, CHAT, CUSTOM_MODEL, DRIVER_APP]
CHATS = [CHAT, RESPONSES, "agent/v2/chat"]


@pytest.mark.parametrize("task", CHATS)
@given(payload=JSON | CHOICES)
@FUZZ
def test_a_chat_response_is_decoded_or_a_typed_error(task: str, payload: Any) -> None:
    with suppress(DatabricksError):
        assert chat_codec(task).decode(payload).generations


@pytest.mark.parametrize("task", TEXTS)
@given(payload=JSON | CHOICES)
@FUZZ
def test_a_text_response_is_decoded_or_a_typed_error(task: str, payload: Any) -> None:
    codec = text_codec(task)
    with suppress(DatabricksError):
        for response in codec.split(payload, 1):
            assert all(isinstance(one.text, str) for one in codec.decode(response))


@given(payload=JSON | st.fixed_dictionaries({"data": st.lists(JSON, max_size=2)}))
@FUZZ
def test_an_embeddings_response_is_decoded_or_a_typed_error(payload: Any) -> None:
    with suppress(DatabricksError):
        [vector] = embeddings_codec(EMBEDDINGS).decode(payload, 1)
        assert all(isinstance(number, float) for number in vector)


@pytest.mark.parametrize("task", CHATS)
@given(
    events=st.lists(JSON | CHOICES | st.binary(max_size=20), max_size=4),
    cuts=st.lists(st.integers(0, 500)),
)
@FUZZ
def test_a_stream_is_decoded_or_a_typed_error(
    task: str, events: list[Any], cuts: list[int]
) -> None:
    codec = chat_codec(task)
    body = b"".join(
        b"data: " + (one if isinstance(one, bytes) else json.dumps(one).encode()) + b"\n\n"
        for one in events
    )
    edges = [0, *sorted(cut for cut in cuts if cut < len(body)), len(body)]
    reader = StreamReader(codec.stream(), codec.decode, codec.recognize)
    with suppress(DatabricksError):
        for start, end in pairwise(edges):
            reader.feed(body[start:end])
        reader.finish()


@given(pieces=st.lists(st.binary(max_size=30), max_size=10))
@FUZZ
def test_the_boundaries_of_pieces_do_not_change_the_events(pieces: list[bytes]) -> None:
    def decode(pieces: list[bytes]) -> list[str]:
        decoder = EventDecoder()
        return [event for piece in pieces for event in decoder.feed(piece)] + decoder.finish()

    body = b"".join(pieces)
    assert decode(pieces) == decode([body]) == decode([bytes([byte]) for byte in body])


@given(
    status=st.integers(300, 999),
    body=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()),
    retry_after=st.text(max_size=20) | st.datetimes().map(str),
)
@FUZZ
def test_any_error_response_is_a_typed_error(status: int, body: bytes, retry_after: str) -> None:
    error = error_from_response(
        status,
        body,
        {"Retry-After": retry_after},
        target=ServingEndpoint("m"),
        host="https://w.example",
    )
    assert isinstance(error, DatabricksError)
    assert error.retry_after is None or error.retry_after >= 0
    assert len(str(error)) < 2000
