"""Random requests. DBX_EVAL_FUZZ_EXAMPLES sets the number of examples, here as in a long run."""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_dbx_eval.driver import CallableEngine, DriverServer, RequestError
from langchain_dbx_eval.driver.executor import RequestExecutor
from langchain_dbx_eval.driver.http.middleware import app_path
from langchain_dbx_eval.driver.protocol.json_body import decode
from langchain_dbx_eval.driver.runtime.limits import Limits
from tests.driver.http.bodies import ERROR_KEYS, Everything
from tests.polling import wait_until

EXAMPLES = int(os.environ.get("DBX_EVAL_FUZZ_EXAMPLES", "40"))
FUZZ = settings(max_examples=EXAMPLES)
FORMATS = {
    **RequestExecutor(Everything(), Limits()).formats,
    "function": RequestExecutor(CallableEngine(lambda prompt: prompt), Limits()).formats["/"],
}
FIELDS = [
    "prompt", "messages", "input", "stop", "role", "content", "type", "text", "image_url",
    "url", "tools", "tool_calls", "tool_choice", "function", "name", "arguments", "parameters",
    "id", "response_format", "json_schema", "schema", "format", "stream", "stream_options",
    "include_usage", "n", "temperature", "max_tokens", "top_p", "top_k", "seed", "logprobs",
    "top_logprobs", "model", "user", "dimensions", "encoding_format", "dataframe_records",
    "dataframe_split", "columns", "data", "instances", "inputs", "params", "instructions",
    "previous_response_id", "output", "summary",
]  # fmt: skip
WORDS = ("user", "assistant", "system", "tool", "text", "input_text", "message", "function_call")
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.sampled_from([*WORDS, *FIELDS])
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=8), inner, max_size=5)
    ),
    max_leaves=20,
)
BODIES = st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=6)


def refusal(call: Callable[[], object]) -> RequestError | None:
    """Return the error with which a request is refused."""
    try:
        call()
    except RequestError as error:
        return error
    return None


@pytest.mark.parametrize("path", FORMATS)
@FUZZ
@given(body=BODIES)
def test_a_random_body_is_parsed_or_refused(path: str, body: dict[str, Any]) -> None:
    error = refusal(lambda: FORMATS[path].parse(body))
    assert error is None or (400 <= error.status < 500 and len(error.message) < 2_000)


@FUZZ
@given(body=st.binary(max_size=200) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_random_bytes_are_an_object_or_refused(body: bytes) -> None:
    error = refusal(lambda: json.dumps(decode(body), allow_nan=False))
    assert error is None or error.status == 400


@FUZZ
@given(path=st.text() | st.lists(st.sampled_from(["/", "driver-proxy-api", "o", "1"])).map("".join))
def test_the_path_of_the_driver_proxy_is_removed_once(path: str) -> None:
    assert "//" not in app_path(path)


@pytest.fixture(scope="module")
def server() -> Iterator[DriverServer]:
    with DriverServer(lambda prompt: prompt, "127.0.0.1", 0, "key") as server:
        yield server
        assert server._loop
        wait_until(lambda: not server._loop._server.active_channels)


HEADER_LINES = st.sampled_from(
    [
        b"Content-Length: 5", b"Content-Length: -1", b"Content-Length: 5, 6", b"X-Api-Key: key",
        b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked, chunked",
        b"Expect: 100-continue",
        b"Connection: close", b"Content-Type: application/json", b"X: \xff", b" folded", b": x",
    ]
)  # fmt: skip


@FUZZ
@given(
    method=st.sampled_from([b"GET", b"POST", b"PUT", b"FUZZ", b""]),
    path=st.sampled_from([b"/", b"/health", b"*", b"http://x/health", b"/%ff%00%0a", b""]),
    lines=st.lists(HEADER_LINES, max_size=5),
    body=st.sampled_from([b"", b"5\r\n{}   \r\n0\r\n\r\n", b"hello", b"{}", b"zz\r\n"]),
)
def test_random_http_is_answered_in_the_error_format_or_closed(
    server: DriverServer, method: bytes, path: bytes, lines: list[bytes], body: bytes
) -> None:
    head = b"\r\n".join([method + b" " + path + b" HTTP/1.1", b"Host: x", *lines, b"", b""])
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall(head + body)
        client.shutdown(socket.SHUT_WR)
        response = http.client.HTTPResponse(client)
        try:
            response.begin()
            content = response.read()
        except (ConnectionError, http.client.HTTPException):
            return  # closed: the request is incomplete
    assert response.status not in (500, 502)
    if response.status >= 400:
        assert json.loads(content).keys() == ERROR_KEYS
