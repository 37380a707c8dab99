"""The command line."""

from __future__ import annotations

import os
import re
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
def test_the_demo_prints_scores_between_0_and_1_and_the_better_variant_raises_recall() -> None:
    done = subprocess.run(
        [*COMMAND, "demo", "--variant", "better"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "160"},
    )
    assert done.returncode == 0, done.stderr
    averages = re.findall(r"(recall|token_f1|exact_match)/average\W+([\d.]+)", done.stdout)
    assert {name for name, _ in averages} == {"recall", "token_f1", "exact_match"}
    assert all(0 < float(value) < 1 for _, value in averages)
    [recall] = re.findall(r"document_recall/average\W+[\d.]+\W+[\d.]+\W+([+-][\d.]+)", done.stdout)
    assert float(recall) > 0
    assert "The 3 worst rows" in done.stdout
    [page] = re.findall(r"Report: (.+)", done.stdout)
    assert Path(page).is_file()
    assert "mlflow ui --backend-store-uri sqlite:///" in done.stdout
    assert "Traceback" not in done.stderr
