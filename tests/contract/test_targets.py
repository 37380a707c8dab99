"""Every target and every login: URLs and credentials."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import responses

from langchain_dbx_eval import ChatDatabricks, Databricks, DatabricksEmbeddings, errors
from tests.loopback import (
    CALLS,
    Answer,
    LoopbackServer,
    Pieces,
    Received,
    call_model,
    chat_answer,
    chat_chunk,
    events,
)

HOST = "https://w.example"
LOGIN = {"host": HOST, "api_token": "t"}


@pytest.mark.parametrize(
    ("base_url", "prefix"),
    [
        ("/ai-gateway/mlflow/v1", f"{HOST}/ai-gateway/mlflow/v1"),
        ("/ai-gateway/mlflow/v1/", f"{HOST}/ai-gateway/mlflow/v1"),
        ("https://gateway.example/v1", "https://gateway.example/v1"),
    ],
)
@responses.activate
def test_a_base_url_is_called_with_openais_routes(base_url: str, prefix: str) -> None:
    chat = responses.post(f"{prefix}/chat/completions", json=chat_answer("ok"))
    text = responses.post(f"{prefix}/completions", json={"choices": [{"text": "ok"}]})
    vectors = responses.post(f"{prefix}/embeddings", json={"data": [{"embedding": [1.0]}]})
    login = {**LOGIN, "base_url": base_url}
    if base_url.startswith("https"):
        login = {"base_url": base_url, "api_token": "t"}
    model = "system.ai.claude-sonnet-4-5"
    assert ChatDatabricks(model=model, **login).invoke("hi").text == "ok"
    assert Databricks(endpoint_name=model, **login).invoke("hi") == "ok"
    assert DatabricksEmbeddings(endpoint=model, **login).embed_query("hi") == [1.0]
    for sent in (chat, text, vectors):
        [call] = sent.calls
        assert json.loads(call.request.body)["model"] == model
        assert call.request.headers["Authorization"] == "Bearer t"


@responses.activate
def test_a_call_may_name_another_model() -> None:
    sent = responses.post(f"{HOST}/v1/chat/completions", json=chat_answer("ok"))
    endpoint = responses.post(f"{HOST}/serving-endpoints/b/invocations", json=chat_answer("ok"))
    ChatDatabricks(model="a", base_url="/v1", **LOGIN).invoke("hi", model="b")
    assert json.loads(sent.calls[0].request.body)["model"] == "b"
    ChatDatabricks(model="a", **LOGIN).invoke("hi", model="b")
    assert endpoint.call_count == 1


def test_a_workspace_token_is_not_sent_to_another_host() -> None:
    os.environ.update(DATABRICKS_HOST=HOST, DATABRICKS_TOKEN="t")
    chat = ChatDatabricks(model="m", base_url="https://elsewhere.example/v1")
    with pytest.raises(errors.ConfigurationError, match="is not sent to other hosts"):
        chat.invoke("hi")


@pytest.mark.parametrize("name", ["a b", "a/b", "a?b", "ä"])
@responses.activate
def test_an_endpoints_name_is_quoted(name: str) -> None:
    quoted = {"a b": "a%20b", "a/b": "a%2Fb", "a?b": "a%3Fb", "ä": "%C3%A4"}[name]
    responses.post(f"{HOST}/serving-endpoints/{quoted}/invocations", json=chat_answer("ok"))
    assert ChatDatabricks(model=name, **LOGIN).invoke("hi").text == "ok"


@pytest.mark.parametrize(
    ("org_id", "path", "url"),
    [
        ("0", "", "/o/0/c-1/7777/"),
        ("1234", "generate", "/o/1234/c-1/7777/generate"),
        ("0", "/v1/chat/completions", "/o/0/c-1/7777/v1/chat/completions"),
    ],
)
@responses.activate
def test_an_app_has_an_organization_and_a_path(org_id: str, path: str, url: str) -> None:
    sent = responses.post(f"{HOST}/driver-proxy-api{url}", json="ok")
    app = {"cluster_id": "c-1", "cluster_driver_port": 7777, "org_id": org_id, "path": path}
    assert Databricks(**app, **LOGIN, driver_api_key="k").invoke("hi") == "ok"
    assert ChatDatabricks(**app, **LOGIN).invoke("hi").text == "ok"
    assert sent.calls[0].request.headers["X-Api-Key"] == "k"
    assert "X-Api-Key" not in sent.calls[1].request.headers


class Provider:
    """A workspace with an OAuth login and a route-optimized endpoint at another address."""

    def __init__(self) -> None:
        self.forms: list[dict[str, str]] = []
        self.data_plane = LoopbackServer(self._model)
        self.control_plane = LoopbackServer(self._workspace)

    def _workspace(self, received: Received) -> Any:
        path = received.path
        if path == "/.well-known/databricks-config":
            return {"oidc_endpoint": f"{self.control_plane.url}/oidc"}
        if "oauth-authorization-server" in path:
            oidc = f"{self.control_plane.url}/oidc/v1"
            return {
                "authorization_endpoint": f"{oidc}/authorize",
                "token_endpoint": f"{oidc}/token",
            }
        if path == "/oidc/v1/token":
            form = {k: v[0] for k, v in parse_qs(received.raw.decode()).items()}
            self.forms.append(form)
            exchanged = "authorization_details" in form
            token = "data-plane" if exchanged else "control-plane"
            return {"access_token": token, "token_type": "Bearer", "expires_in": 3600}
        if received.headers.get("Authorization") != "Bearer control-plane":
            return Answer({"error_code": 401, "message": "unauthorized"}, 401)
        if path == "/api/2.0/serving-endpoints/m":
            info = {
                "endpoint_url": f"{self.data_plane.url}/1234/serving-endpoints/m/invocations",
                "authorization_details": '[{"type": "workspace_permission"}]',
            }
            return {"name": "m", "route_optimized": True, "data_plane_info": {"query_info": info}}
        if path == "/api/2.0/serving-endpoints/plain":
            return {"name": "plain"}
        return chat_answer("from the control plane")

    def _model(self, received: Received) -> Any:
        if received.headers.get("Authorization") != "Bearer data-plane":
            return Answer({"error_code": 401, "message": "unauthorized"}, 401)
        if received.body.get("stream"):
            return Pieces(events(chat_chunk("from the data plane"), chat_chunk(end="stop")))
        return chat_answer("from the data plane")


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider()
    with made.data_plane, made.control_plane:
        os.environ.update(
            DATABRICKS_HOST=made.control_plane.url,
            DATABRICKS_CLIENT_ID="id",
            DATABRICKS_CLIENT_SECRET="secret",
        )
        yield made


def test_a_service_principal_logs_in_with_oauth(provider: Provider) -> None:
    chat = ChatDatabricks(model="plain")
    assert chat.invoke("hi").text == "from the control plane"
    assert chat.invoke("hi").text == "from the control plane"
    assert [form["grant_type"] for form in provider.forms] == ["client_credentials"]
    assert "secret" not in repr(chat) + str(chat.model_dump())


@pytest.mark.parametrize("call", CALLS)
def test_a_route_optimized_endpoint_receives_its_own_token(provider: Provider, call: str) -> None:
    chat = ChatDatabricks(model="m", route_optimized=True)
    for _ in range(2):
        answer = call_model(chat, call)
        chunks = answer if isinstance(answer, list) else [answer]
        assert "".join(chunk.text for chunk in chunks) == "from the data plane"
    [exchanged] = [form for form in provider.forms if "assertion" in form]
    assert exchanged["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    assert exchanged["assertion"] == "control-plane"
    assert exchanged["authorization_details"] == '[{"type": "workspace_permission"}]'
    assert provider.data_plane.requests[0].path == "/1234/serving-endpoints/m/invocations"
    described = [r for r in provider.control_plane.requests if r.path.endswith("endpoints/m")]
    assert len(described) == 1


def test_an_endpoint_without_a_route_optimized_url_is_an_error(provider: Provider) -> None:
    with pytest.raises(errors.ConfigurationError, match="'plain' contains no route-optimized URL"):
        ChatDatabricks(model="plain", route_optimized=True).invoke("hi")


def test_a_route_optimized_endpoint_needs_oauth() -> None:
    with pytest.raises(errors.ConfigurationError, match="log in with OAuth"):
        ChatDatabricks(model="m", route_optimized=True, **LOGIN).invoke("hi")


def test_a_profile_may_log_in_with_oauth(provider: Provider, tmp_path: Path) -> None:
    for name in ("DATABRICKS_HOST", "DATABRICKS_CLIENT_ID", "DATABRICKS_CLIENT_SECRET"):
        del os.environ[name]
    profile = f"[p]\nhost = {provider.control_plane.url}\nclient_id = id\nclient_secret = secret\n"
    (tmp_path / ".databrickscfg").write_text(profile)
    for arguments in ({"profile": "p"}, {"target_uri": "databricks://p"}):
        assert ChatDatabricks(model="plain", **arguments).invoke("hi").text == (
            "from the control plane"
        )
    assert Databricks(
        cluster_id="c-1",
        cluster_driver_port=7777,
        databricks_uri="databricks://p",
        transform_output_fn=lambda response: response["choices"][0]["message"]["content"],
    ).invoke("hi") == ("from the control plane")


def test_the_login_of_a_notebook_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    from databricks.sdk import credentials_provider

    def notebook(_: Any) -> Any:
        return lambda: {"Authorization": "Bearer from-notebook"}

    with LoopbackServer(lambda _: chat_answer("ok")) as server:
        # In a notebook, databricks-sdk reads host and token from the runtime.
        os.environ["DATABRICKS_HOST"] = server.url
        monkeypatch.setattr(
            credentials_provider.DefaultCredentials, "__call__", lambda _, cfg: notebook(cfg)
        )
        assert ChatDatabricks(model="m").invoke("hi").text == "ok"
        calls = [r for r in server.requests if r.path.endswith("/invocations")]
        assert calls[0].headers["Authorization"] == "Bearer from-notebook"
