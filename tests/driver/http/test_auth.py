from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
import requests

from langchain_dbx_eval.driver import DriverServer, create_app
from langchain_dbx_eval.driver.http.auth import KEY_VARIABLE, resolve_key
from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.testing import LocalWorkspace

StartServer = Callable[..., DriverServer]


def echo(prompt: str) -> str:
    return prompt


def failing(prompt: str) -> str:
    raise ValueError


def post(server: DriverServer, key: str | bytes | None) -> requests.Response:
    headers = {} if key is None else {"X-Api-Key": key}
    return requests.post(server.url, json={"prompt": "hi"}, headers=headers)


def test_a_request_with_the_key_is_accepted(start_server: StartServer) -> None:
    assert post(start_server(echo, api_key="secret"), "secret").json() == "hi"


@pytest.mark.parametrize(
    "key",
    [None, "", "wrong", "secre", "secrets", "SECRET", "sécret", "\N{SNOWMAN}".encode(), b"\xff"],
)
def test_a_missing_or_wrong_key_is_a_401(start_server: StartServer, key: str | bytes) -> None:
    response = post(start_server(echo, api_key="secret"), key)
    assert response.status_code == 401
    assert response.json()["error_code"] == "UNAUTHENTICATED"


@pytest.mark.parametrize("value", ["Bearer secret", "bearer  secret"])
def test_a_client_on_the_node_may_send_the_key_as_a_bearer_token(
    start_server: StartServer, value: str
) -> None:
    server = start_server(echo, api_key="secret")
    headers = {"Authorization": value}
    assert requests.post(server.url, json={"prompt": "hi"}, headers=headers).json() == "hi"


@pytest.mark.parametrize("value", ["Bearer wrong", "Bearer", "secret", "Basic secret", "Bearer é"])
def test_another_authorization_is_a_401(start_server: StartServer, value: str) -> None:
    server = start_server(echo, api_key="secret")
    headers = {"Authorization": value.encode("latin-1")}
    assert requests.post(server.url, json={"prompt": "hi"}, headers=headers).status_code == 401
    headers["X-Api-Key"] = b"secret"
    assert requests.post(server.url, json={"prompt": "hi"}, headers=headers).json() == "hi"


def test_a_bearer_token_never_reaches_the_app_through_the_driver_proxy(
    workspace: LocalWorkspace, start_server: StartServer
) -> None:
    server = start_server(echo, api_key=workspace.token)
    url = f"{workspace.url}/driver-proxy-api/o/0/{workspace.cluster_id}/{server.port}/"
    headers = {"Authorization": f"Bearer {workspace.token}"}
    response = requests.post(url, json={"prompt": "hi"}, headers=headers)
    assert (response.status_code, response.json()["error_code"]) == (401, "UNAUTHENTICATED")


def test_a_401_does_not_reveal_which_paths_exist(start_server: StartServer) -> None:
    server = start_server(echo, api_key="secret")
    assert requests.get(f"{server.url}/nowhere").status_code == 401


def test_health_needs_no_key(start_server: StartServer) -> None:
    server = start_server(echo, api_key="secret")
    assert requests.get(f"{server.url}/health").json() == {"status": "ok"}


def test_an_open_server_needs_no_key(start_server: StartServer) -> None:
    assert post(start_server(echo, api_key=False), None).json() == "hi"


def test_the_default_key_is_that_of_the_environment(start_server: StartServer) -> None:
    os.environ[KEY_VARIABLE] = "from-the-environment"
    assert post(start_server(echo, api_key=None), "from-the-environment").ok


def test_a_generated_key_is_printed_once_and_stored_in_the_environment(
    capsys: pytest.CaptureFixture[str],
) -> None:
    key = resolve_key(None)
    assert key == resolve_key(None) == os.environ[KEY_VARIABLE]
    assert capsys.readouterr().out.count(key) == 1


def test_a_configured_key_is_never_shown(
    start_server: StartServer,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = start_server(failing, api_key="given-key")
    post(server, "given-key")
    post(server, "wrong")
    assert "given-key" not in capsys.readouterr().out + caplog.text + repr(server)


@pytest.mark.parametrize("key", ["", "sécret", "two\nlines", " padded ", True, 5, b"bytes"])
def test_a_key_that_cannot_be_sent_is_rejected_and_not_shown(key: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        create_app(echo, api_key=key)
    assert "sécret" not in str(caught.value)


def test_the_error_about_an_invalid_key_of_the_environment_names_the_variable() -> None:
    os.environ[KEY_VARIABLE] = "sécret"
    with pytest.raises(ConfigurationError, match=KEY_VARIABLE):
        create_app(echo)
