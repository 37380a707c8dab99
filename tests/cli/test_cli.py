"""The command line."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from langchain_dbx_eval._version import __version__
from langchain_dbx_eval.cli import main

pytestmark = pytest.mark.usefixtures("_restored_log_levels")

COMMAND = [sys.executable, "-m", "langchain_dbx_eval.cli"]


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert "serve" in printed
    assert "demo" in printed


def test_version_prints_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


def test_an_error_is_one_line_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "no_such_module:f"]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("langchain-dbx-eval: ")
    assert "no_such_module" in printed


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("--timeout=nan", "request_timeout must be a number of seconds above 0"),
        ("--max-in-flight=0", "max_in_flight must be a whole number"),
        ("--max-request-bytes=0", "max_request_bytes must be a whole number"),
    ],
)
def test_an_invalid_limit_is_an_error(
    capsys: pytest.CaptureFixture[str], option: str, expected: str
) -> None:
    assert main(["serve", "langchain_dbx_eval.demo.answerer:answer", option]) == 1
    assert expected in capsys.readouterr().err


def test_serve_answers_with_the_function(tmp_path: Path) -> None:
    (tmp_path / "my_model.py").write_text("def shout(prompt):\n    return prompt.upper()\n")
    environment = {**os.environ, "DBX_EVAL_DRIVER_API_KEY": "k"}
    command = [*COMMAND, "serve", "my_model:shout", "--host", "127.0.0.1", "--port", "0"]
    with subprocess.Popen(
        command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            address = re.search(r"http://127\.0\.0\.1:\d+", server.stdout.readline())
            assert address is not None
            headers = {"X-Api-Key": "k"}
            response = requests.post(address[0], json={"prompt": "hi"}, headers=headers, timeout=60)
            assert response.json() == "HI"
        finally:
            server.terminate()
        assert server.wait(60) == 0


@pytest.mark.timeout(600)  # includes the wait for port 7777
@pytest.mark.xdist_group("port 7777")
@pytest.mark.usefixtures("documented_port")
def test_the_demo_prints_scores_between_0_and_1_and_the_better_variant_raises_recall(
    tmp_path: Path,
) -> None:
    # A user who is logged in: the demonstration writes to no workspace.
    login = {"DATABRICKS_HOST": "http://127.0.0.1:9", "DATABRICKS_TOKEN": "dapi", "COLUMNS": "200"}
    login["DATABRICKS_WAREHOUSE_ID"] = "warehouse"
    done = subprocess.run(
        [*COMMAND, "demo", "--variant", "better"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **login},
    )
    assert done.returncode == 0, done.stderr
    averages = re.findall(r"(recall|token_f1|exact_match)/average\W+([\d.]+)", done.stdout)
    assert {name for name, _ in averages} == {"recall", "token_f1", "exact_match"}
    assert all(0 < float(value) < 1 for _, value in averages)
    [recall] = re.findall(r"document_recall/average\W+[\d.]+\W+[\d.]+\W+([+-][\d.]+)", done.stdout)
    assert float(recall) > 0
    assert "The 3 worst rows" in done.stdout
    assert "is no model but a deterministic function" in done.stdout
    assert "None of 48 rows failed, " in done.stdout
    assert re.search(r"Scores +document_recall 0.00, .*correctness no *\n", done.stdout)
    assert "Serving on" not in done.stdout
    assert "Traceback" not in done.stderr
    [page] = re.findall(r"^Report: file://(.+)", done.stdout, re.MULTILINE)
    assert Path(page).is_file()
    [mlflow, store] = re.findall(r"^MLflow: (\S+) ui .*(sqlite:\S+)", done.stdout, re.MULTILINE)[0]
    assert Path(mlflow).is_file()
    assert Path(store.removeprefix("sqlite:///")).is_file()
    # In another shell: without this home, and in another folder.
    [command] = re.findall(r"^All rows: (.+)", done.stdout, re.MULTILINE)
    elsewhere = {**os.environ, "DBX_EVAL_HOME": str(tmp_path / "other")}
    shown = subprocess.run(
        shlex.split(command), capture_output=True, text=True, check=True, env=elsewhere, cwd="/"
    )
    assert len(re.findall(r"^✕", shown.stdout, re.MULTILINE)) == 23
