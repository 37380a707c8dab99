"""The description of the server: valid OpenAPI, and neither narrower nor wider than the parser."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    response_schema_conformance,
    status_code_conformance,
)

from langchain_dbx_eval.driver import STANDARD_PARAMETERS, create_app
from langchain_dbx_eval.driver.errors import RequestError
from langchain_dbx_eval.driver.http.openapi import description
from langchain_dbx_eval.driver.http.routes import ROUTES
from langchain_dbx_eval.driver.protocol.formats import request_formats
from langchain_dbx_eval.driver.protocol.requests import Capabilities
from tests.driver.http.bodies import (
    HI,
    VALID_TOOLS,
    WRONG_TOOLS,
    Everything,
    malformed_objects,
    valid_objects,
)

FORMATS = request_formats(Capabilities(STANDARD_PARAMETERS, messages=True, embeds=True))
DOCUMENT = description(ROUTES, FORMATS)

# Messages of the rules that the description does not express: those that relate several fields,
# and those about the rows that `dataframe_split` and columns consist of.
RELATED_FIELDS = (
    "are the same",
    "stream' supports",
    " prompts.",
    "columns of the same length",
    "rows, not",
    "'dataframe_split[",
    "'dataframe_split.data[",
    "does not support '",
)

schema = schemathesis.openapi.from_wsgi("/openapi.json", create_app(Everything(), api_key=False))


@schema.parametrize()
@settings(max_examples=60)
def test_no_request_derived_from_the_description_is_a_5xx(case: Any) -> None:
    case.call_and_validate(
        checks=[not_a_server_error, status_code_conformance, response_schema_conformance]
    )


def test_the_description_is_openapi_3_1() -> None:
    schema.validate()


def is_described(path: str, body: Any, document: Any = DOCUMENT) -> bool:
    request_body = document["paths"][path]["post"]["requestBody"]
    body_schema = request_body["content"]["application/json"]["schema"]
    whole = {**body_schema, "components": document["components"]}
    return Draft202012Validator(whole).is_valid(body)


def rejection(path: str, body: Any, formats: Any = FORMATS) -> str | None:
    """Return the parser's message, or None for a body that it accepts."""
    try:
        formats[path].parse(body)
    except RequestError as error:
        return error.message
    return None


def relates_fields(message: str) -> bool:
    return any(rule in message for rule in RELATED_FIELDS)


def test_the_description_and_the_parser_accept_each_valid_body() -> None:
    for path, body in valid_objects():
        assert rejection(path, body) is None, (path, body)
        assert is_described(path, body), (path, body)


def test_the_description_and_the_parser_agree_about_each_malformed_body() -> None:
    for path, body in malformed_objects():
        message = rejection(path, body)
        if message is None or not relates_fields(message):
            assert is_described(path, body) == (message is None), (path, body, message)


@pytest.mark.parametrize("path", ["/", "/v1/chat/completions"])
def test_the_description_and_the_parser_agree_about_tools(path: str) -> None:
    names = frozenset({"tools", "tool_choice", "parallel_tool_calls", "response_format"})
    formats = request_formats(Capabilities(names, messages=True))
    document = description(ROUTES, formats)
    for options, valid in [(VALID_TOOLS, True), (WRONG_TOOLS, False)]:
        for option in options:
            body = {"messages": HI, **option}
            assert (rejection(path, body, formats) is None) == valid, body
            assert is_described(path, body, document) == valid, body


@pytest.mark.parametrize("strict", [False, True])
def test_the_description_and_the_parser_agree_about_values_without_effect(strict: bool) -> None:
    formats = request_formats(Capabilities(frozenset(), messages=True, strict=strict))
    document = description(ROUTES, formats)
    for name in ("top_p", "temperature", "top_k", "seed", "frequency_penalty"):
        for value in (None, 0, 1, 1.0, -1, 0.5, True, "1", [], {}):
            body = {"prompt": "hi", name: value}
            accepted = rejection("/", body, formats) is None
            assert is_described("/", body, document) == accepted, body
            assert not (strict and accepted)


def integral_floats_as_integers(value: Any) -> Any:
    """Convert 1.0 to 1, which are the same number in JSON Schema."""
    if isinstance(value, dict):
        return {name: integral_floats_as_integers(item) for name, item in value.items()}
    if isinstance(value, list):
        return [integral_floats_as_integers(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


BODIES = {
    path: schemathesis.openapi.from_dict(DOCUMENT)[path]["POST"].as_strategy(
        generation_mode=GenerationMode.POSITIVE
    )
    for path in ("/", "/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses")
}


@pytest.mark.parametrize("path", BODIES)
@settings(max_examples=25)
@given(data=st.data())
def test_the_parser_accepts_each_body_that_the_description_accepts(
    path: str, data: st.DataObject
) -> None:
    message = rejection(path, integral_floats_as_integers(data.draw(BODIES[path]).body))
    assert message is None or relates_fields(message)


def test_every_route_is_described() -> None:
    document = create_app(Everything(), api_key=False).test_client().get("/openapi.json").json
    assert document is not None
    assert list(document["paths"]) == sorted(route.path for route in ROUTES)


def test_a_route_that_the_engine_does_not_support_is_not_described() -> None:
    text_only = description(ROUTES, request_formats(Capabilities()))
    assert "/v1/embeddings" not in text_only["paths"]
    assert "/v1/completions" in text_only["paths"]
