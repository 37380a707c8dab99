"""Hundreds of malformed requests: each is a 4xx in our error format, and the server continues."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
from collections.abc import Callable

import pytest
import requests

from langchain_dbx_eval.driver import DriverServer
from tests.driver.http.bodies import ERROR_KEYS, PATHS, Everything, malformed_bytes

StartServer = Callable[..., DriverServer]


def test_each_malformed_request_is_a_4xx_in_our_error_format(start_server: StartServer) -> None:
    url = start_server(Everything()).url
    cases = list(malformed_bytes())
    assert len(cases) >= 400
    with requests.Session() as session:
        for path, body in cases:
            response = session.post(url + path, body, headers={"Content-Type": "application/json"})
            case = f"{path} {body[:200]!r} -> {response.status_code} {response.text[:200]}"
            assert 400 <= response.status_code < 500, case
            assert response.json().keys() == ERROR_KEYS, case
            assert len(response.text) < 2000, case
    assert requests.post(url, json={"prompt": "alive"}).json() == "alive"


@pytest.mark.parametrize("path", PATHS)
def test_a_get_where_a_post_is_served_is_a_405(start_server: StartServer, path: str) -> None:
    response = requests.get(start_server(Everything()).url + path)
    assert response.status_code == 405
    assert response.json()["error_code"] == "METHOD_NOT_ALLOWED"


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: five\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 70_000 + b"\r\n\r\n", 431),
    ],
)
def test_bytes_that_are_not_http_are_rejected_in_our_error_format(
    start_server: StartServer, head: bytes, status: int
) -> None:
    server = start_server(lambda prompt: prompt)
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall(head)
        response = http.client.HTTPResponse(client)
        response.begin()
        body = json.loads(response.read())
    assert response.status == status
    assert body.keys() == ERROR_KEYS
    assert requests.post(server.url, json={"prompt": "alive"}).json() == "alive"


def test_a_compressed_body_is_a_415(start_server: StartServer) -> None:
    body = gzip.compress(b'{"prompt": "a"}')
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    url = start_server(lambda prompt: prompt).url
    assert requests.post(url, data=body, headers=headers).status_code == 415


def test_a_message_about_a_range_has_both_bounds(start_server: StartServer) -> None:
    url = start_server(Everything()).url
    body = requests.post(url, json={"prompt": "a", "max_tokens": 0}).json()
    assert body["message"] == "'max_tokens' must be a whole number from 1 to 1000000."
