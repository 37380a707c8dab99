"""Codecs of OpenAI's formats: any JSON gives a result or a typed error."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_dbx_eval.errors import DatabricksError
from langchain_dbx_eval.wire.metadata import decode_usage
from langchain_dbx_eval.wire.mlflow import scoring_server
from langchain_dbx_eval.wire.openai import chat, completions, embeddings
from langchain_dbx_eval.wire.plain_prompt import text_of

_KEYS = st.sampled_from(
    [
        "choices",
        "message",
        "content",
        "delta",
        "text",
        "data",
        "index",
        "embedding",
        "predictions",
        "usage",
        "error",
        "tool_calls",
        "function",
        "name",
        "arguments",
        "finish_reason",
        "model",
        "id",
        "prompt_tokens",
        "completion_tokens",
    ]
)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    "decode",
    [
        chat.decode,
        chat.decode_output,
        completions.decode,
        lambda payload: embeddings.decode(payload, 1),
        lambda payload: embeddings.decode_vectors(payload, 1),
        lambda payload: scoring_server.split(payload, 1),
        text_of,
    ],
    ids=["chat", "answer", "completions", "embeddings", "vectors", "predictions", "text"],
)
@given(payload=ANY_JSON)
def test_any_json_gives_a_result_or_a_typed_error(
    decode: Callable[[Any], Any], payload: Any
) -> None:
    with contextlib.suppress(DatabricksError):
        decode(payload)


@given(st.lists(ANY_JSON, max_size=4))
def test_any_events_give_a_stream_or_a_typed_error(payloads: list[Any]) -> None:
    stream = chat.Stream()
    with contextlib.suppress(DatabricksError):
        for payload in payloads:
            stream.feed(json.dumps(payload))
        stream.finish()


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        (None, None),
        ({}, None),
        ({"prompt_tokens": 2, "completion_tokens": 3}, (2, 3, 5)),
        ({"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 9}, (2, 3, 9)),
        ({"prompt_tokens": 2}, (2, 0, 2)),
        ({"prompt_tokens": True, "completion_tokens": "x"}, None),
    ],
)
def test_usage_is_decoded(usage: Any, counts: tuple[int, int, int] | None) -> None:
    decoded = decode_usage(usage)
    if counts is None:
        assert decoded is None
    else:
        assert (
            decoded["input_tokens"],
            decoded["output_tokens"],
            decoded["total_tokens"],
        ) == counts


def test_cache_and_reasoning_details_are_decoded() -> None:
    decoded = decode_usage(
        {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "cache_read_input_tokens": 4,
            "cache_creation_input_tokens": 2,
            "completion_tokens_details": {"reasoning_tokens": 3},
        }
    )
    assert decoded["input_token_details"] == {"cache_read": 4, "cache_creation": 2}
    assert decoded["output_token_details"] == {"reasoning": 3}


def test_one_usage_for_many_choices_is_counted_once() -> None:
    choice = {"message": {"role": "assistant", "content": "a"}}
    usage = {"prompt_tokens": 1, "completion_tokens": 2}
    result = chat.decode({"choices": [choice, choice], "usage": usage})
    assert [g.message.usage_metadata is not None for g in result.generations] == [True, False]


def test_a_call_without_name_and_arguments_is_decoded() -> None:
    message = {"role": "assistant", "tool_calls": [{"id": "c", "function": {}}]}
    decoded = chat.decode({"choices": [{"message": message}]}).generations[0].message
    assert [(call["name"], call["args"]) for call in decoded.tool_calls] == [("", {})]


def test_arguments_that_are_not_an_object_make_an_invalid_call() -> None:
    function = {"name": "add", "arguments": "[1]"}
    message = {"role": "assistant", "tool_calls": [{"id": "c", "function": function}]}
    decoded = chat.decode({"choices": [{"message": message}]}).generations[0].message
    assert [call["args"] for call in decoded.invalid_tool_calls] == ["[1]"]
