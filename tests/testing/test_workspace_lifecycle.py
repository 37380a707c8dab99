import os
import re
import subprocess
import sys
from contextlib import closing
from http.client import HTTPConnection

import pytest
import requests

from langchain_dbx_eval.errors import (
    AlreadyExistsError,
    ConfigurationError,
    MissingDependencyError,
)
from langchain_dbx_eval.testing import LocalWorkspace
from tests.polling import wait_until

VARIABLES = ("DATABRICKS_HOST", "DATABRICKS_TOKEN", "DATABRICKS_CLUSTER_ID")
OTHERS = (
    "DATABRICKS_CONFIG_PROFILE",
    "DATABRICKS_CLIENT_ID",
    "DATABRICKS_CLIENT_SECRET",
    "DATABRICKS_AUTH_TYPE",
)


def test_the_environment_points_to_the_running_workspace():
    with LocalWorkspace(cluster_id="c1") as workspace:
        values = [os.environ[name] for name in VARIABLES]

        assert values == [workspace.url, workspace.token, "c1"]


def test_variables_that_were_set_are_restored(monkeypatch):
    for name in (*VARIABLES, *OTHERS):
        monkeypatch.setenv(name, f"before {name}")

    with LocalWorkspace():
        pass

    assert [os.environ[name] for name in (*VARIABLES, *OTHERS)] == [
        f"before {name}" for name in (*VARIABLES, *OTHERS)
    ]


def test_variables_that_were_unset_are_unset_again(monkeypatch):
    for name in (*VARIABLES, *OTHERS):
        monkeypatch.delenv(name, raising=False)

    with LocalWorkspace():
        pass

    assert not {*VARIABLES, *OTHERS} & set(os.environ)


def test_variables_of_other_logins_are_unset_while_it_runs(monkeypatch):
    for name in OTHERS:
        monkeypatch.setenv(name, "confusing")

    with LocalWorkspace():
        assert not set(OTHERS) & set(os.environ)


def test_the_environment_is_restored_after_an_exception(monkeypatch):
    monkeypatch.setenv("DATABRICKS_HOST", "https://real.example")

    with pytest.raises(ZeroDivisionError), LocalWorkspace():
        raise ZeroDivisionError

    assert os.environ["DATABRICKS_HOST"] == "https://real.example"


def test_the_environment_is_not_changed_with_set_environment_false(monkeypatch):
    monkeypatch.setenv("DATABRICKS_HOST", "https://real.example")

    with LocalWorkspace(set_environment=False):
        assert os.environ["DATABRICKS_HOST"] == "https://real.example"


def test_two_workspaces_run_side_by_side_each_with_its_own_endpoints(workspace, session):
    workspace.add_endpoint("mine", lambda prompt: prompt, kind="custom")

    with LocalWorkspace(set_environment=False, token=workspace.token) as other:
        headers = {"Authorization": f"Bearer {other.token}"}
        path = "/api/2.0/serving-endpoints/mine"
        there = requests.get(other.url + path, headers=headers, timeout=60)

        assert (session.get(path).status_code, there.status_code) == (200, 404)


def test_a_connection_stays_open_for_the_next_request(workspace):
    connection = HTTPConnection(workspace.url.removeprefix("http://"), timeout=60)
    with closing(connection):
        connection.request("GET", "/.well-known/databricks-config")
        connection.getresponse().read()

        assert connection.sock is not None


def test_stopping_the_workspace_closes_idle_connections():
    workspace = LocalWorkspace()
    workspace.start()
    headers = {"Authorization": f"Bearer {workspace.token}"}
    url = f"{workspace.url}/api/2.0/serving-endpoints"
    with requests.Session() as session:
        session.get(url, headers=headers, timeout=60)
        workspace.stop()

        with pytest.raises(requests.ConnectionError):
            session.get(url, headers=headers, timeout=60)


def test_a_stopped_workspace_starts_again_with_its_endpoints():
    workspace = LocalWorkspace()
    workspace.add_endpoint("dolly", lambda prompt: prompt, kind="custom")
    for _ in range(2):
        workspace.start()
        headers = {"Authorization": f"Bearer {workspace.token}"}
        path = "/api/2.0/serving-endpoints/dolly"
        answer = requests.get(workspace.url + path, headers=headers, timeout=60)
        workspace.stop()

    assert answer.json()["name"] == "dolly"


def test_stop_ends_the_delay_of_a_request(caplog):
    workspace = LocalWorkspace()
    workspace.add_endpoint("dolly", lambda prompt: prompt, kind="custom")
    workspace.delay("dolly", seconds=3600)
    with workspace:
        with pytest.raises(requests.Timeout):
            requests.post(
                f"{workspace.url}/serving-endpoints/dolly/invocations",
                json={"inputs": "a"},
                headers={"Authorization": f"Bearer {workspace.token}"},
                timeout=(60, 0.05),
            )
        wait_until(lambda: workspace.requests)
    # waitress logs a warning if a thread is still running when it stops.
    assert "still running" not in caplog.text


def test_no_repr_contains_the_token(workspace):
    assert workspace.token not in repr(workspace)
    assert workspace.token not in repr(workspace.__dict__)


def test_each_workspace_generates_its_own_token():
    assert LocalWorkspace().token != LocalWorkspace().token


def test_the_url_of_a_stopped_workspace_is_an_error():
    with pytest.raises(ConfigurationError, match="not running"):
        _ = LocalWorkspace().url


def output_of(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_importing_the_package_loads_no_web_framework():
    code = (
        "import sys, langchain_dbx_eval.testing as t; t.LocalWorkspace(); "
        "print({'flask', 'waitress', 'werkzeug'} & set(sys.modules))"
    )

    assert output_of(code) == "set()"


def test_the_emulator_shares_no_code_with_the_clients():
    code = (
        "import sys, langchain_dbx_eval.testing.http.app; print([m for m in sys.modules if "
        "m.startswith(('langchain_dbx_eval.client', 'langchain_dbx_eval.wire'))])"
    )

    assert output_of(code) == "[]"


@pytest.mark.parametrize("name", ["", "a/b", "a b", "../x"])
def test_a_name_that_is_invalid_in_a_url_is_an_error(name):
    with pytest.raises(ConfigurationError, match=re.escape(repr(name))):
        LocalWorkspace().add_endpoint(name, lambda prompt: prompt, kind="custom")


def test_a_second_endpoint_of_the_same_name_is_an_error():
    workspace = LocalWorkspace()
    workspace.add_endpoint("dolly", lambda prompt: prompt, kind="custom")

    with pytest.raises(AlreadyExistsError, match="dolly"):
        workspace.add_endpoint("dolly", lambda prompt: prompt, kind="custom")


@pytest.mark.parametrize(
    ("backend", "options", "message"),
    [
        (lambda prompt: prompt, {"kind": "chats"}, "chat, completions, embeddings"),
        (lambda prompt: prompt, {"kind": "custom", "external": True}, "not custom"),
        ("a string", {"kind": "chat"}, "not str"),
        (lambda: "no argument", {"kind": "chat"}, "at least one argument"),
    ],
)
def test_an_invalid_endpoint_is_an_error_when_it_is_added(backend, options, message):
    with pytest.raises(ConfigurationError, match=message):
        LocalWorkspace().add_endpoint("x", backend, **options)


@pytest.mark.parametrize("module", ["flask", "waitress"])
def test_the_error_of_a_missing_package_names_the_extra_testing(monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError, match=r"langchain-dbx-eval\[testing\]"):
        LocalWorkspace().start()
