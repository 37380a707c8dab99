"""The synchronous transport: retries, typed errors, and hosts that receive no token."""

from __future__ import annotations

import json
import os
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import responses
from langchain_core import exceptions as core
from pydantic import SecretStr

from langchain_dbx_eval import ChatDatabricks, DatabricksEmbeddings, errors
from langchain_dbx_eval.driver import DriverServer, RequestError
from langchain_dbx_eval.llms import Databricks
from langchain_dbx_eval.testing import LocalWorkspace

URL = "https://w.example/serving-endpoints/m/invocations"
ANSWER = {"choices": [{"message": {"role": "assistant", "content": "ok"}}]}


@pytest.fixture
def chat() -> ChatDatabricks:
    return ChatDatabricks(model="m", host="w.example", api_token="dapi-secret", max_retries=0)


@pytest.fixture
def my_chat(workspace: LocalWorkspace) -> LocalWorkspace:
    workspace.add_endpoint("my-chat", lambda messages, **p: "ok", kind="chat")
    return workspace


@pytest.mark.parametrize(
    ("status", "kind", "core_kind"),
    [
        (400, errors.InvalidRequestError, core.ModelInvalidRequestError),
        (401, errors.AuthenticationError, core.ModelAuthenticationError),
        (403, errors.PermissionDeniedError, core.ModelPermissionDeniedError),
        (404, errors.NotFoundError, core.ModelNotFoundError),
        (429, errors.RateLimitError, core.ModelRateLimitError),
        (500, errors.ServerError, core.ModelAPIError),
        (503, errors.ServerError, core.ModelAPIError),
    ],
)
@responses.activate
def test_a_status_is_a_typed_error_with_langchains_base_class(
    chat: ChatDatabricks, status: int, kind: type, core_kind: type
) -> None:
    responses.post(
        URL,
        json={"error_code": "SOME_CODE", "message": "it is so"},
        status=status,
        headers={"x-request-id": "r-1"},
    )
    with pytest.raises(kind) as raised:
        chat.invoke("hi")
    error = raised.value
    assert isinstance(error, core_kind)
    assert (error.status_code, error.error_code, error.request_id) == (status, "SOME_CODE", "r-1")
    assert "serving endpoint 'm'" in str(error).lower()
    assert "https://w.example" in str(error)
    assert "it is so" in str(error)
    assert "dapi-secret" not in str(error)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ('{"error": {"message": "from OpenAI", "code": "x"}}', "from OpenAI"),
        ('{"error": "a plain one"}', "a plain one"),
        ("<html><head><title>502 Bad Gateway</title></head></html>", "502 Bad Gateway"),
        ("just text", "just text"),
        ('["a list"]', "a list"),
        ("", "answered 500."),
    ],
)
@responses.activate
def test_the_reason_is_found_in_any_body(chat: ChatDatabricks, body: str, reason: str) -> None:
    responses.post(URL, body=body, status=500)
    with pytest.raises(errors.ServerError, match=reason):
        chat.invoke("hi")


def test_a_transient_error_is_retried(my_chat: LocalWorkspace) -> None:
    my_chat.fail("my-chat", status=429, retry_after=0, times=2)
    assert ChatDatabricks(model="my-chat", max_retries=2).invoke("hi").text == "ok"
    assert len(my_chat.requests) == 3


def test_a_broken_body_is_retried(my_chat: LocalWorkspace) -> None:
    my_chat.break_body("my-chat", times=1)
    assert ChatDatabricks(model="my-chat", max_retries=1).invoke("hi").text == "ok"


def test_no_more_than_max_retries_are_made(my_chat: LocalWorkspace) -> None:
    my_chat.fail("my-chat", status=429, retry_after=0, times=9)
    with pytest.raises(errors.RateLimitError):
        ChatDatabricks(model="my-chat", max_retries=2).invoke("hi")
    assert len(my_chat.requests) == 3


def test_an_endpoint_that_is_starting_is_waited_for(
    my_chat: LocalWorkspace, caplog: pytest.LogCaptureFixture
) -> None:
    my_chat.fail("my-chat", status=503, retry_after=0, times=9)
    assert ChatDatabricks(model="my-chat").invoke("hi").text == "ok"
    lines = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(lines) == 9
    assert lines[0].startswith("Retry 1 in 0.0 s: Serving endpoint 'my-chat' at ")


def test_an_endpoint_that_is_starting_is_not_waited_for_beyond_given_retries(
    my_chat: LocalWorkspace,
) -> None:
    my_chat.fail("my-chat", status=503, retry_after=0, times=9)
    with pytest.raises(errors.ServerError):
        ChatDatabricks(model="my-chat", max_retries=3).invoke("hi")
    assert len(my_chat.requests) == 4


@pytest.mark.parametrize(
    ("component", "name"),
    [(Databricks, "endpoint_name"), (ChatDatabricks, "model"), (DatabricksEmbeddings, "endpoint")],
)
def test_the_error_for_a_positional_argument_shows_the_named_one(component: Any, name: str) -> None:
    message = rf"{component.__name__}\({name}='x'\)"
    with pytest.raises(errors.ConfigurationError, match=message):
        component("x")


def test_the_error_for_a_port_without_an_app_contains_the_command_to_start_one() -> None:
    with socket.socket() as bound:  # without a listener, and reserved for this test
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        with pytest.warns(UserWarning, match="3000-8000"):
            llm = Databricks(cluster_driver_port=port, host="local", max_retries=0)
        with pytest.raises(errors.ConnectionFailedError, match=rf"DriverServer\(.*port={port}\)"):
            llm.invoke("hi")


@responses.activate
def test_the_error_for_a_chat_model_on_a_completions_endpoint_names_the_class(
    chat: ChatDatabricks,
) -> None:
    responses.post(URL, json={"choices": [{"text": "ok", "index": 0}]})
    with pytest.raises(errors.InvalidResponseError, match="call the endpoint with Databricks"):
        chat.invoke("hi")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 500])
def test_a_permanent_error_is_not_retried(my_chat: LocalWorkspace, status: int) -> None:
    my_chat.fail("my-chat", status=status, times=9)
    with pytest.raises(errors.DatabricksError):
        ChatDatabricks(model="my-chat", max_retries=3).invoke("hi")
    assert len(my_chat.requests) == 1


def test_a_wait_beyond_the_timeout_is_not_started(my_chat: LocalWorkspace) -> None:
    my_chat.fail("my-chat", status=429, retry_after=3600, times=9)
    with pytest.raises(errors.RateLimitError) as raised:
        ChatDatabricks(model="my-chat", timeout=5).invoke("hi")
    assert raised.value.retry_after == 3600


def test_a_missing_response_is_a_timeout(my_chat: LocalWorkspace) -> None:
    my_chat.delay("my-chat", seconds=2.0)
    with pytest.raises(errors.RequestTimeoutError, match="timeout="):
        ChatDatabricks(model="my-chat", timeout=0.2, max_retries=0).invoke("hi")


def test_a_closed_port_is_a_connection_error() -> None:
    with socket.socket() as bound:  # without a listener, and reserved for this test
        bound.bind(("127.0.0.1", 0))
        host = f"http://127.0.0.1:{bound.getsockname()[1]}"
        chat = ChatDatabricks(model="m", host=host, api_token="t", max_retries=0)
        with pytest.raises(errors.ConnectionFailedError, match=rf"{host}.*refused"):
            chat.invoke("hi")


def test_the_error_for_a_wrong_token_names_the_variable(my_chat: LocalWorkspace) -> None:
    chat = ChatDatabricks(model="my-chat", host=my_chat.url, api_token="wrong", max_retries=0)
    with pytest.raises(errors.AuthenticationError, match="DATABRICKS_TOKEN"):
        chat.invoke("hi")


def test_the_error_for_a_missing_app_names_the_address_to_listen_on(
    workspace: LocalWorkspace,
) -> None:
    with socket.socket() as bound:  # without a listener, and reserved for this test
        bound.bind(("127.0.0.1", 0))
        with pytest.warns(UserWarning, match="3000-8000"):
            llm = Databricks(cluster_driver_port=bound.getsockname()[1], max_retries=0)
        with pytest.raises(errors.ServerError, match=r"0\.0\.0\.0"):
            llm.invoke("hi")


def test_the_error_for_a_stopped_cluster_has_its_code(workspace: LocalWorkspace) -> None:
    workspace.stop_cluster(workspace.cluster_id)
    with pytest.raises(errors.InvalidRequestError, match=r"INVALID_STATE.*Start the cluster"):
        Databricks(cluster_driver_port=7777).invoke("hi")


def test_the_error_for_a_request_that_the_app_refuses_has_no_advice_about_the_cluster(
    workspace: LocalWorkspace,
) -> None:
    def refuse(prompt: str) -> str:
        raise RequestError(400, "INVALID_PARAMETER_VALUE", f"{prompt!r} is too long.")

    with DriverServer(refuse, host="127.0.0.1", port=0) as server:
        with pytest.warns(UserWarning, match="3000-8000"):
            llm = Databricks(cluster_driver_port=server.port)
        with pytest.raises(errors.InvalidRequestError, match=r"'hi' is too long\.$"):
            llm.invoke("hi")


def test_an_app_receives_its_own_key(workspace: LocalWorkspace) -> None:
    server = DriverServer(lambda prompt: "ok", host="127.0.0.1", port=0, api_key="app-key")
    with server:
        with pytest.warns(UserWarning, match="3000-8000"):
            right = Databricks(cluster_driver_port=server.port, driver_api_key="app-key")
        assert right.invoke("hi") == "ok"
        wrong = right.model_copy(update={"driver_api_key": SecretStr("other")})
        with pytest.raises(errors.AuthenticationError, match="driver_api_key"):
            wrong.invoke("hi")


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@responses.activate
def test_a_redirect_is_not_followed(chat: ChatDatabricks, status: int) -> None:
    elsewhere = responses.post("https://evil.example/", json=ANSWER)
    responses.post(URL, status=status, headers={"Location": "https://evil.example/"})
    with pytest.raises(errors.DatabricksError, match="redirect"):
        chat.invoke("hi")
    assert elsewhere.call_count == 0


@responses.activate
def test_netrc_does_not_replace_the_token(chat: ChatDatabricks, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine w.example login someone password else\n")
    os.environ["NETRC"] = str(netrc)
    sent = responses.post(URL, json=ANSWER)
    chat.invoke("hi")
    assert sent.calls[0].request.headers["Authorization"] == "Bearer dapi-secret"


@responses.activate
def test_the_error_for_html_shows_its_text(chat: ChatDatabricks) -> None:
    responses.post(URL, body="<html>Please log in</html>")
    with pytest.raises(errors.InvalidResponseError, match="Please log in"):
        chat.invoke("hi")


def test_all_components_share_one_connection_to_a_host() -> None:
    addresses = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            addresses.append(self.client_address)
            self.rfile.read(int(self.headers["Content-Length"]))
            body = json.dumps({**ANSWER, "data": [{"embedding": [1.0]}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        login = {"host": f"http://127.0.0.1:{server.server_port}", "api_token": "t"}
        for _ in range(3):
            ChatDatabricks(model="m", **login).invoke("hi")
            DatabricksEmbeddings(endpoint="m", **login).embed_query("hi")
        server.shutdown()
    assert len(addresses) == 6
    assert len(set(addresses)) == 1
