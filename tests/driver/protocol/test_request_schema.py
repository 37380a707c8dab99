from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_dbx_eval.driver import GenerationRequest
from langchain_dbx_eval.driver.errors import RequestError
from langchain_dbx_eval.driver.protocol.json_body import decode
from langchain_dbx_eval.driver.protocol.openai import MAX_STOPS, parse

ALLOWED = frozenset({"temperature", "max_tokens"})


def refusal(payload: object) -> str:
    with pytest.raises(RequestError) as caught:
        parse(payload, ALLOWED)
    assert caught.value.status == 400
    return caught.value.message


def test_a_full_request_is_taken_over() -> None:
    payload = {"prompt": "Hi", "stop": [".", "\n"], "temperature": 0.5}
    assert parse(payload, ALLOWED) == GenerationRequest("Hi", (".", "\n"), {"temperature": 0.5})


@pytest.mark.parametrize("stop", [None, []])
def test_no_stop_may_be_said_in_words(stop: object) -> None:
    assert parse({"prompt": "Hi", "stop": stop}, ALLOWED) == GenerationRequest("Hi")


@pytest.mark.parametrize("payload", [[1], "text", 5, None, True])
def test_a_body_that_is_no_object_is_refused(payload: object) -> None:
    assert "JSON object" in refusal(payload)


def test_a_missing_prompt_is_named() -> None:
    assert "'prompt' is missing" in refusal({})


@pytest.mark.parametrize(
    ("prompt", "kind"),
    [(5, "a number"), (None, "null"), (["a"], "a list"), ({}, "an object"), (True, "a boolean")],
)
def test_a_prompt_of_another_type_is_refused_with_its_type(prompt: object, kind: str) -> None:
    assert refusal({"prompt": prompt}) == f"'prompt' must be a string, not {kind}."


def test_a_bare_string_as_stop_is_told_to_be_a_list() -> None:
    assert "list of strings" in refusal({"prompt": "Hi", "stop": "ab"})


@pytest.mark.parametrize("stop", [[5], [["a"]], {"a": 1}, 5, True, [None], "", ["a", ""]])
def test_a_stop_that_is_no_list_of_texts_is_refused(stop: object) -> None:
    assert "'stop'" in refusal({"prompt": "Hi", "stop": stop})


def test_too_many_stops_are_refused_with_the_limit() -> None:
    stops = [str(number) for number in range(MAX_STOPS + 1)]
    assert str(MAX_STOPS) in refusal({"prompt": "Hi", "stop": stops})


def test_an_unknown_parameter_is_named_beside_those_allowed() -> None:
    assert refusal({"prompt": "Hi", "trust_remote_code": True}) == (
        "Unknown parameter 'trust_remote_code'. "
        "This server takes: prompt, stop, max_tokens, temperature."
    )


def test_a_very_long_unknown_name_does_not_come_back() -> None:
    assert len(refusal({"prompt": "Hi", "x" * 100_000: 1})) < 200


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="cut off"),
        pytest.param(b"\xff\xfe", id="not UTF-8"),
        pytest.param('{"prompt": "Hi"}'.encode("utf-16"), id="UTF-16"),
        pytest.param(b"[" * 200_000, id="deep and cut off"),
        pytest.param(b"[" * 100_000 + b"]" * 100_000, id="deep"),
        pytest.param(b'{"prompt": "\\ud800"}', id="lone surrogate"),
        pytest.param(b'{"prompt": "Hi", "\\udfff": 1}', id="lone surrogate in a key"),
        pytest.param(b'{"temperature": NaN}', id="NaN"),
        pytest.param(b'{"temperature": -Infinity}', id="infinity"),
        pytest.param(b'{"temperature": 1e999}', id="infinite in fact"),
        pytest.param(b'{"seed": ' + b"9" * 5000 + b"}", id="more digits than Python reads"),
        pytest.param(b'{"prompt": "a", "prompt": "b"}', id="key twice"),
    ],
)
def test_a_body_that_is_no_strict_json_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        decode(body)
    assert (caught.value.status, caught.value.error_code) == (400, "MALFORMED_REQUEST")


def test_a_surrogate_pair_is_text() -> None:
    assert decode(b'{"prompt": "\\ud83d\\ude00"}') == {"prompt": "\N{GRINNING FACE}"}


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.binary() | JSON_VALUES.map(json.dumps).map(str.encode))
def test_any_body_is_a_request_or_a_refusal(body: bytes) -> None:
    try:
        request: Any = parse(decode(body), ALLOWED)
    except RequestError as error:
        request = error
    assert isinstance(request, GenerationRequest | RequestError)
