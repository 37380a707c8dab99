"""The reason in a response that reports an error."""

from __future__ import annotations

import time
from typing import Any

import pytest

from langchain_dbx_eval.client.error_responses import error_from_response
from langchain_dbx_eval.client.targets import ServingEndpoint

# The slowest of these took over ten seconds with regular expressions that are quadratic.
_BOUND_S = 5.0


def message(body: bytes, **headers: str) -> str:
    endpoint = ServingEndpoint("m")
    return str(error_from_response(500, body, headers, target=endpoint, host="https://w.example"))


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        ("<html><head><title>502 Bad Gateway</title></head><body>x</body></html>", "502 Bad Gate"),
        ("<HTML><BODY CLASS='a'>Please <b>log in</b></BODY></HTML>", "Please log in."),
        ("<pre>a &lt; b</pre>", "a < b."),
        ("<p>no body", "no body."),
        ("<", "answered 500."),
        ("<html", "html."),
        ("<title>unclosed", "unclosed."),
        ("a < b", "a < b."),
    ],
)
def test_the_reason_of_an_html_page_is_its_text(page: str, reason: str) -> None:
    assert reason in message(page.encode())


@pytest.mark.parametrize(
    "piece", ["<", "<pre ", "<pre></", "<title>", "</body>", "< >", "&lt", "{", "["]
)
def test_a_page_of_the_same_characters_is_read_in_linear_time(piece: str) -> None:
    started = time.monotonic()
    message(("<" + piece * 1_000_000).encode())
    assert time.monotonic() - started < _BOUND_S


@pytest.mark.parametrize("depth", [900, 5_000, 200_000])
@pytest.mark.parametrize("key", ["error", "external_model_error", "message"])
def test_a_nested_error_is_an_error_with_its_status(depth: int, key: str) -> None:
    body: Any = f'{{"{key}":' * depth + "1" + "}" * depth
    assert "answered 500" in message(body.encode())


def test_a_code_that_is_no_text_is_shown_shortened() -> None:
    assert len(message(b'{"error_code": "' + b"x" * 100_000 + b'"}')) < 1000
