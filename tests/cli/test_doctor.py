"""`doctor`, against the emulated workspace."""

from __future__ import annotations

import json

import pytest

from langchain_dbx_eval.cli import main
from langchain_dbx_eval.driver import DriverServer
from langchain_dbx_eval.testing import LocalWorkspace

pytestmark = pytest.mark.usefixtures("mlflow_store")


def findings(capsys: pytest.CaptureFixture[str]) -> dict[str, tuple[str, str]]:
    listed = json.loads(capsys.readouterr().out)
    return {one["check"]: (one["status"], one["detail"]) for one in listed}


def test_without_a_workspace_its_checks_are_skipped_with_what_to_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["doctor", "--json"]) == 0
    found = findings(capsys)
    assert found["workspace"][0] == "skipped"
    assert "DATABRICKS_HOST" in found["workspace"][1]
    assert (found["journals"][0], found["mlflow"][0]) == ("ok", "ok")
    assert "--judge endpoints:/NAME" in found["judge"][1]


def test_all_checks_of_a_workspace(
    workspace: LocalWorkspace, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict = json.dumps({"rating": "yes", "rationale": "a greeting"})
    workspace.add_endpoint("my-judge", lambda messages, **params: verdict, kind="chat")
    workspace.add_warehouse("warm")
    with DriverServer(lambda prompt: prompt, host="127.0.0.1", port=0, api_key="key") as server:
        capsys.readouterr()  # the lines of the server
        words = ["--endpoint", "my-judge", "--warehouse-id", "warm", "--port", str(server.port)]
        assert main(["doctor", *words, "--judge", "endpoints:/my-judge", "--json"]) == 0
    found = findings(capsys)
    assert {status for status, _ in found.values()} == {"ok"}, found
    assert "RUNNING" in found["warehouse"][1]
    assert "1 serving endpoints" in found["login"][1]


def test_each_failed_check_has_advice(
    workspace: LocalWorkspace,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATABRICKS_TOKEN", "dapi-of-another-workspace")
    words = ["--endpoint", "none", "--warehouse-id", "none", "--port", "1"]
    assert main(["doctor", *words, "--judge", "endpoints:/none", "--json"]) == 1
    found = findings(capsys)
    failed = {name for name, (status, _) in found.items() if status == "failed"}
    assert failed == {"login", "endpoint", "warehouse", "driver proxy", "judge"}
    assert "rejected DATABRICKS_TOKEN" in found["driver proxy"][1]
    assert not any("dapi-of" in detail for _, detail in found.values())
