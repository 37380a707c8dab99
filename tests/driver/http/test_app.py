"""The responses of the app, over a real socket."""

from __future__ import annotations

import http.client
import logging
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import requests

from langchain_dbx_eval.driver import DriverServer, Generation, Limits, create_app
from tests.driver.http.bodies import ERROR_KEYS

StartServer = Callable[..., DriverServer]
JSON = {"Content-Type": "application/json"}


def echo(prompt: str, temperature: float = 0.0) -> str:
    return prompt


def raw(server: DriverServer, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
    """Send a path unchanged; the library requests would normalize it."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    try:
        connection.request(method, path, body, JSON)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def assert_error(response: requests.Response, status: int, error_code: str) -> None:
    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/json"
    assert response.json().keys() == ERROR_KEYS
    assert response.json()["error_code"] == error_code
    assert response.headers["X-Request-Id"]
    error = response.json()["error"]
    assert error["message"] == response.json()["message"]
    assert error["code"] == error_code.lower()
    assert error["type"] == ("server_error" if status >= 500 else "invalid_request_error")


@pytest.fixture
def url(start_server: StartServer) -> str:
    return start_server(echo).url


def test_the_response_to_a_prompt_is_a_json_string(url: str) -> None:
    response = requests.post(url, json={"prompt": "안녕 \N{GRINNING FACE}"})
    assert response.json() == "안녕 \N{GRINNING FACE}"


def test_a_completion_ends_before_its_stop_string(url: str) -> None:
    body = {"prompt": "The answer is banana\nHuman: why?", "stop": ["\nHuman:"]}
    assert requests.post(url, json=body).json() == "The answer is banana"


def test_a_content_type_may_have_a_charset(url: str) -> None:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    assert requests.post(url, data=b'{"prompt": "hi"}', headers=headers).json() == "hi"


def test_half_a_surrogate_pair_from_the_model_is_returned(start_server: StartServer) -> None:
    server = start_server(lambda prompt: "\ud800")
    assert requests.post(server.url, json={"prompt": "hi"}).json() == "\ud800"


@pytest.mark.parametrize("path", ["//", "///", "/driver-proxy-http/", "//driver-proxy-http//"])
def test_paths_of_the_driver_proxy_reach_the_app(start_server: StartServer, path: str) -> None:
    assert raw(start_server(echo), "POST", path, b'{"prompt": "hi"}') == (200, b'"hi"\n')


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"{}", id="no prompt"),
        pytest.param(b"[1]", id="not an object"),
        pytest.param(b'{"prompt": 5}', id="prompt a number"),
        pytest.param(b'{"prompt": ["a", "b"]}', id="prompt a list"),
        pytest.param(b'{"prompt": "a", "nonsense": 1}', id="unknown parameter"),
        pytest.param(
            b'{"prompt": "a", "custom_generate": "/tmp/x", "trust_remote_code": true}',
            id="remote code",
        ),
        pytest.param(b'{"prompt": "a", "stopping_criteria": []}', id="conflicting parameter"),
        pytest.param(b'{"prompt": "a", "num_beams": 400}', id="expensive parameter"),
        pytest.param(b'{"prompt": "a", "num_return_sequences": 2000}', id="many choices"),
        pytest.param(b'{"prompt": "a", "stop": "ab"}', id="stop a string"),
        pytest.param(b'{"prompt": "a", "stop": [""]}', id="empty stop"),
        pytest.param(b'{"prompt": "a", "temperature": NaN}', id="NaN"),
        pytest.param(b'{"prompt": "\\ud800"}', id="lone surrogate"),
        pytest.param(b'{"prompt": "a", "prompt": "b"}', id="duplicate key"),
        pytest.param(b'{"prompt": "a", "temperature": ' + b"9" * 9999 + b"}", id="huge integer"),
        pytest.param(b"[" * 200_000, id="deep nesting"),
        pytest.param(b'{"prompt": ', id="truncated"),
        pytest.param(b"", id="empty"),
    ],
)
def test_bad_input_is_a_400_and_the_server_continues(url: str, body: bytes) -> None:
    response = requests.post(url, data=body, headers=JSON)
    assert response.status_code == 400
    assert response.json().keys() == ERROR_KEYS
    assert requests.post(url, json={"prompt": "alive"}).json() == "alive"


def test_an_unknown_parameter_is_named(url: str) -> None:
    response = requests.post(url, json={"prompt": "a", "top_k": 5})
    assert_error(response, 400, "INVALID_PARAMETER_VALUE")
    assert "'top_k'" in response.json()["message"]


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "application/xml", None]
)
def test_another_content_type_is_a_415(url: str, content_type: str | None) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    response = requests.post(url, data=b'{"prompt": "hi"}', headers=headers)
    assert_error(response, 415, "UNSUPPORTED_MEDIA_TYPE")


def test_an_unknown_path_is_a_404_that_lists_the_routes(url: str) -> None:
    response = requests.get(f"{url}/static/x")
    assert_error(response, 404, "ENDPOINT_NOT_FOUND")
    for path in requests.get(f"{url}/openapi.json").json()["paths"]:
        assert f" {path}" in response.json()["message"]


def test_another_method_is_a_405_with_the_allowed_ones(url: str) -> None:
    response = requests.get(url)
    assert_error(response, 405, "METHOD_NOT_ALLOWED")
    assert "POST" in response.headers["Allow"]


def chunks() -> Any:
    for _ in range(20):
        yield b" " * 100_000


@pytest.mark.parametrize("body", [b" " * 2_000_000, chunks()], ids=["with its length", "chunked"])
def test_a_body_over_the_limit_is_a_413(url: str, body: Any) -> None:
    assert_error(requests.post(url, data=body, headers=JSON), 413, "REQUEST_TOO_LARGE")


def test_a_body_far_over_the_limit_is_rejected_before_it_is_sent(start_server: StartServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", start_server(echo).port)
    connection.putrequest("POST", "/")
    connection.putheader("Content-Length", str(30_000_000))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_the_maximum_body_size_is_configurable() -> None:
    client = create_app(echo, api_key=False, limits=Limits(max_request_bytes=100)).test_client()
    assert client.post("/", json={"prompt": "x" * 100}).status_code == 413


@pytest.mark.parametrize("size", [1_400_000, 7_000_000])
def test_a_server_accepts_bodies_up_to_its_limit(size: int) -> None:
    limits = Limits(max_request_bytes=8_000_000)
    with DriverServer(echo, "127.0.0.1", 0, False, limits=limits) as server:
        response = requests.post(server.url, json={"prompt": "x" * size})
        assert len(response.json()) == size
        assert requests.post(server.url, data=b" " * 9_000_000, headers=JSON).status_code == 413


def failing(prompt: str) -> str:
    message = f"secret path, and {prompt}"
    raise ValueError(message)


def test_the_response_to_a_failure_has_an_id_and_no_details(start_server: StartServer) -> None:
    response = requests.post(start_server(failing).url, json={"prompt": "hi"})
    assert_error(response, 500, "INTERNAL_ERROR")
    assert response.headers["X-Request-Id"] in response.json()["message"]
    assert "secret" not in response.text


def test_a_failure_is_logged_with_its_id_and_traceback(
    start_server: StartServer, caplog: pytest.LogCaptureFixture
) -> None:
    response = requests.post(start_server(failing).url, json={"prompt": "hi"})
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert response.headers["X-Request-Id"] in record.getMessage()
    assert record.exc_info is not None


def test_a_function_that_does_not_return_text_is_a_500(start_server: StartServer) -> None:
    response = requests.post(start_server(lambda prompt: 5).url, json={"prompt": "hi"})
    assert_error(response, 500, "INTERNAL_ERROR")


def test_each_response_has_its_own_id(url: str) -> None:
    ids = {requests.get(f"{url}/health").headers["X-Request-Id"] for _ in range(3)}
    assert len(ids) == 3


def test_importing_the_package_does_not_import_a_web_framework() -> None:
    code = (
        "import sys, langchain_dbx_eval.driver; "
        "print(sys.modules.keys() & {'flask', 'werkzeug', 'waitress'})"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert output.stdout == "set()\n"


def test_an_exception_with_the_prompt_forges_no_line_of_the_log(
    start_server: StartServer, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(prompt: str) -> str:
        raise ValueError(prompt)

    url = start_server(fail).url
    prompt = "a\n2026-01-01 INFO forged\x1b[2K"
    assert requests.post(url, json={"prompt": prompt}).status_code == 500
    logging.getLogger("waitress").error("Exception while serving %s", "/a\nforged\x1b")
    assert r"serving /a\nforged\x1b" in caplog.text
    assert "  | ValueError: a\n  | 2026-01-01 INFO forged\\x1b[2K" in caplog.text
    assert "\x1b" not in caplog.text


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_a_result_that_is_not_json_is_an_error(
    start_server: StartServer, number: str, stream: bool
) -> None:
    def score(prompt: str) -> Generation:
        return Generation(prompt, logprobs={"token_logprobs": [float(number)]})

    body = {"prompt": "a", "stream": stream}
    response = requests.post(f"{start_server(score).url}/v1/completions", json=body)
    assert_error(response, 500, "INTERNAL_ERROR")
