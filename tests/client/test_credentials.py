"""Credentials: their order, and invalid hosts."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from langchain_dbx_eval import ChatDatabricks, errors
from langchain_dbx_eval._internal.runtime import current_cluster_id
from langchain_dbx_eval.client.credentials import (
    normalize_host,
    profile_from_uri,
    resolve_credentials,
)
from langchain_dbx_eval.testing import LocalWorkspace


@pytest.mark.parametrize(
    ("raw", "host"),
    [
        ("my.cloud.databricks.com", "https://my.cloud.databricks.com"),
        ("https://prod.cloud.databricks.com/", "https://prod.cloud.databricks.com"),
        ("https://staging.example/?o=123", "https://staging.example"),
        ("  https://http-proxy.example/some/path ", "https://http-proxy.example"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
        ("HTTPS://UPPER.example", "https://upper.example"),
    ],
)
def test_a_host_is_normalized(raw: str, host: str) -> None:
    assert normalize_host(raw) == host


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "https://",
        "http://my.cloud.databricks.com",
        "https://a@b.example",
        "ftp://a",
        "a b",
        "a:x",
    ],
)
def test_an_unsafe_or_invalid_host_is_rejected(raw: str) -> None:
    with pytest.raises(errors.ConfigurationError):
        normalize_host(raw)


def test_the_environment_is_used_when_nothing_is_given() -> None:
    found = resolve_credentials(
        environment={"DATABRICKS_HOST": "a.example", "DATABRICKS_TOKEN": "t"}
    )
    assert found.host == "https://a.example"
    assert found.headers() == {"Authorization": "Bearer t"}
    assert "Bearer" not in repr(found)


def test_an_explicit_host_and_token_take_precedence_over_the_environment() -> None:
    found = resolve_credentials(
        host="b.example",
        api_token="u",
        environment={"DATABRICKS_HOST": "a.example", "DATABRICKS_TOKEN": "t"},
    )
    assert (found.host, found.headers()["Authorization"]) == ("https://b.example", "Bearer u")


def write_profile(home: Path, workspace: LocalWorkspace) -> None:
    text = f"[staging]\nhost = {workspace.url}\ntoken = {workspace.token}\n"
    (home / ".databrickscfg").write_text(text)


@pytest.mark.parametrize(
    "arguments", [{"profile": "staging"}, {"target_uri": "databricks://staging"}]
)
def test_a_profile_logs_in(tmp_path: Path, arguments: dict[str, str]) -> None:
    with LocalWorkspace(set_environment=False) as workspace:
        write_profile(tmp_path, workspace)
        workspace.add_endpoint("m", lambda messages: "ok", kind="chat")
        assert ChatDatabricks(model="m", **arguments).invoke("hi").text == "ok"


def test_a_workspace_client_logs_in() -> None:
    from databricks.sdk import WorkspaceClient

    with LocalWorkspace(set_environment=False) as workspace:
        workspace.add_endpoint("m", lambda messages: "ok", kind="chat")
        client = WorkspaceClient(host=workspace.url, token=workspace.token)
        assert ChatDatabricks(model="m", workspace_client=client).invoke("hi").text == "ok"


def test_the_error_without_credentials_explains_how_to_log_in() -> None:
    with pytest.raises(errors.AuthenticationError, match="DATABRICKS_HOST and DATABRICKS_TOKEN"):
        ChatDatabricks(model="m").invoke("hi")


def test_a_profile_that_does_not_exist_is_named() -> None:
    with pytest.raises(errors.AuthenticationError, match="nowhere"):
        ChatDatabricks(model="m", profile="nowhere").invoke("hi")


@pytest.mark.parametrize("uri", ["databricks://", "http://x", "uc"])
def test_a_uri_without_a_profile_is_rejected(uri: str) -> None:
    with pytest.raises(errors.ConfigurationError, match="databricks://<profile>"):
        profile_from_uri(uri)


def test_the_cluster_id_is_that_of_the_sdks_variable() -> None:
    assert current_cluster_id({"DATABRICKS_CLUSTER_ID": "c-1"}) == "c-1"


def test_the_cluster_id_is_that_of_the_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    context = ModuleType("dbruntime.databricks_repl_context")
    context.get_context = lambda: SimpleNamespace(clusterId="c-2")
    monkeypatch.setitem(sys.modules, "dbruntime.databricks_repl_context", context)
    assert current_cluster_id({}) == "c-2"


def test_there_is_no_cluster_id_elsewhere() -> None:
    assert "DATABRICKS_CLUSTER_ID" not in os.environ
    assert current_cluster_id() is None
