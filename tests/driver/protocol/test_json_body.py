"""Strict decoding of request bodies."""

from __future__ import annotations

import pytest

from langchain_dbx_eval.driver.errors import RequestError
from langchain_dbx_eval.driver.protocol.json_body import decode


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="truncated"),
        pytest.param(b"\xff\xfe", id="not UTF-8"),
        pytest.param('{"prompt": "Hi"}'.encode("utf-16"), id="UTF-16"),
        pytest.param(b"[" * 200_000, id="deep and truncated"),
        pytest.param(b"[" * 100_000 + b"]" * 100_000, id="deep"),
        pytest.param(b'{"prompt": "\\ud800"}', id="lone surrogate"),
        pytest.param(b'{"prompt": "Hi", "\\udfff": 1}', id="lone surrogate in a key"),
        pytest.param(b'{"temperature": NaN}', id="NaN"),
        pytest.param(b'{"temperature": -Infinity}', id="infinity"),
        pytest.param(b'{"temperature": 1e999}', id="too large for a float"),
        pytest.param(b'{"seed": ' + b"9" * 5000 + b"}", id="more digits than Python converts"),
        pytest.param(b'{"prompt": "a", "prompt": "b"}', id="duplicate key"),
    ],
)
def test_a_body_that_is_not_strict_json_is_rejected(body: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        decode(body)
    assert (caught.value.status, caught.value.error_code) == (400, "MALFORMED_REQUEST")


@pytest.mark.parametrize("body", [b"[1]", b'"text"', b"5", b"null", b"true"])
def test_a_body_that_is_not_an_object_is_rejected(body: bytes) -> None:
    with pytest.raises(RequestError, match="JSON object") as caught:
        decode(body)
    assert caught.value.status == 400


def test_a_surrogate_pair_is_one_character() -> None:
    assert decode(b'{"prompt": "\\ud83d\\ude00"}') == {"prompt": "\N{GRINNING FACE}"}
