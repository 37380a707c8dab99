"""The prompt form: which bodies are accepted, and the messages of the others."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_dbx_eval.driver import GenerationRequest
from langchain_dbx_eval.driver.errors import RequestError
from langchain_dbx_eval.driver.protocol.json_body import decode
from langchain_dbx_eval.driver.protocol.prompt import MAX_STOPS, PromptFormat
from langchain_dbx_eval.driver.protocol.requests import Capabilities

FORMAT = PromptFormat(Capabilities(frozenset({"temperature", "max_tokens"})))


def rejection(body: dict[str, Any]) -> str:
    with pytest.raises(RequestError) as caught:
        FORMAT.parse_prompt(body)
    assert caught.value.status == 400
    return caught.value.message


def test_all_fields_of_a_body_are_parsed() -> None:
    body = {"prompt": "Hi", "stop": [".", "\n"], "temperature": 0.5}
    expected = GenerationRequest("Hi", (".", "\n"), {"temperature": 0.5})
    assert FORMAT.parse_prompt(body) == expected


@pytest.mark.parametrize("stop", [None, []])
def test_null_and_an_empty_list_mean_no_stop_strings(stop: object) -> None:
    assert FORMAT.parse_prompt({"prompt": "Hi", "stop": stop}) == GenerationRequest("Hi")


def test_a_whole_number_stays_a_whole_number() -> None:
    params = FORMAT.parse_prompt({"prompt": "Hi", "temperature": 1}).params
    assert repr(params["temperature"]) == "1"


def test_a_missing_prompt_is_named() -> None:
    assert rejection({}) == "'prompt' is missing: send the text to complete."


@pytest.mark.parametrize(
    ("prompt", "kind"),
    [(5, "a number"), (None, "null"), (["a"], "a list"), ({}, "an object"), (True, "a boolean")],
)
def test_a_prompt_of_another_type_is_rejected_with_its_type(prompt: object, kind: str) -> None:
    assert rejection({"prompt": prompt}) == f"'prompt' must be a string, not {kind}."


def test_the_message_about_a_single_stop_string_requires_a_list() -> None:
    assert "list of strings" in rejection({"prompt": "Hi", "stop": "ab"})


@pytest.mark.parametrize("stop", [[5], [["a"]], {"a": 1}, 5, True, [None], "", ["a", ""]])
def test_stops_that_are_not_a_list_of_non_empty_strings_are_rejected(stop: object) -> None:
    assert "'stop'" in rejection({"prompt": "Hi", "stop": stop})


def test_too_many_stops_are_rejected_with_the_limit() -> None:
    stops = [str(number) for number in range(MAX_STOPS + 1)]
    assert str(MAX_STOPS) in rejection({"prompt": "Hi", "stop": stops})


def test_an_unknown_parameter_is_named_with_the_allowed_ones() -> None:
    assert rejection({"prompt": "Hi", "trust_remote_code": True}) == (
        "Unknown parameter 'trust_remote_code'. "
        "This server takes: prompt, stop, max_tokens, temperature."
    )


def test_a_very_long_unknown_name_is_truncated_in_the_message() -> None:
    assert len(rejection({"prompt": "Hi", "x" * 100_000: 1})) < 200


@pytest.mark.parametrize("name", ["_private", "copy", "model_config", "schema", "n", "user"])
def test_any_name_can_be_a_parameter_of_a_function(name: str) -> None:
    prompt_format = PromptFormat(Capabilities(frozenset({name})))
    assert prompt_format.parse_prompt({"prompt": "Hi", name: 5}).params == {name: 5}


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.binary() | JSON_VALUES.map(json.dumps).map(str.encode))
def test_any_body_is_parsed_or_rejected(body: bytes) -> None:
    try:
        request: Any = FORMAT.parse_prompt(decode(body))
    except RequestError as error:
        request = error
    assert isinstance(request, GenerationRequest | RequestError)
