"""The command line, run as a user runs it."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from tenacity import retry, stop_after_delay, wait_fixed

from langchain_dbx_eval._version import __version__
from langchain_dbx_eval.cli import main

pytestmark = pytest.mark.usefixtures("_log_levels_again")

COMMAND = [sys.executable, "-m", "langchain_dbx_eval.cli"]


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    printed = capsys.readouterr().out
    assert "serve" in printed
    assert "demo" in printed


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out.strip() == __version__


def test_an_error_is_one_line_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "no_such_module:f"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("langchain-dbx-eval: ")
    assert "no_such_module" in told


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("--timeout=nan", "request_timeout is a number of seconds above 0"),
        ("--max-in-flight=0", "max_in_flight is a whole number"),
        ("--max-request-bytes=0", "max_request_bytes is a whole number"),
    ],
)
def test_a_limit_that_is_none_is_refused(
    capsys: pytest.CaptureFixture[str], option: str, told: str
) -> None:
    assert main(["serve", "langchain_dbx_eval.demo.answerer:answer", option]) == 1
    assert told in capsys.readouterr().err


def test_serve_serves_the_function(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "my_model.py").write_text("def shout(prompt):\n    return prompt.upper()\n")
    environment = {**os.environ, "DBX_EVAL_DRIVER_API_KEY": "k"}
    command = [*COMMAND, "serve", "my_model:shout", "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(command, env=environment, cwd=tmp_path) as server:
        try:
            assert ask(port) == "HI"
        finally:
            server.terminate()
        assert server.wait(20) == 0


@retry(stop=stop_after_delay(30), wait=wait_fixed(0.1))
def ask(port: int) -> str:
    answer = requests.post(
        f"http://127.0.0.1:{port}/", json={"prompt": "hi"}, headers={"X-Api-Key": "k"}, timeout=5
    )
    return answer.json()


@pytest.mark.xdist_group("port 7777")
def test_the_demo_shows_honest_scores_and_what_a_better_retriever_changes() -> None:
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
