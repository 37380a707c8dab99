"""`serve` in a separate process, as the command line runs it, ended by a signal."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
import requests

from langchain_dbx_eval.cli import main
from langchain_dbx_eval.driver import serve
from langchain_dbx_eval.errors import ConfigurationError

MODULE = """
import pathlib, time

def answer(prompt):
    pathlib.Path("entered").touch()
    while not pathlib.Path("released").exists():
        time.sleep(0.01)
    return prompt
"""
PROGRAM = """
from langchain_dbx_eval.cli import main
from langchain_dbx_eval.driver import serve
serve("slow_app:answer", host="127.0.0.1", port=0, api_key="key")
"""


STUCK = """
import pathlib, time
from langchain_dbx_eval.driver import DriverServer, Limits

class Stuck:
    parameters = frozenset()
    def generate(self, request):
        pathlib.Path("entered").touch()
        time.sleep(600)

limits = Limits(request_timeout=1)
DriverServer(Stuck(), "127.0.0.1", 0, "key", limits=limits).serve_forever()
"""
CLI = ["-m", "langchain_dbx_eval.cli", "serve", "slow_app:answer", "--host=127.0.0.1", "--port=0"]


@contextmanager
def running(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run Python with these arguments, in a folder that contains the slow function."""
    (folder / "slow_app.py").write_text(MODULE)
    os.environ["DBX_EVAL_DRIVER_API_KEY"] = "key"
    pipe = subprocess.PIPE
    command = [sys.executable, *arguments]
    with subprocess.Popen(command, cwd=folder, stdout=pipe, stderr=pipe, text=True) as process:
        yield process
        process.kill()


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    with running(tmp_path, "-c", PROGRAM) as process:
        yield process


def port_of(output: IO[str] | None) -> int:
    assert output is not None
    match = re.search(r"http://127\.0\.0\.1:(\d+)", output.readline())
    assert match is not None
    return int(match.group(1))


def post_prompt(port: int) -> str:
    headers = {"X-Api-Key": "key"}
    response = requests.post(f"http://127.0.0.1:{port}", json={"prompt": "hi"}, headers=headers)
    return str(response.json())


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def wait_until_called(folder: Path) -> None:
    wait_until((folder / "entered").exists)


def is_closed(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_with_0_after_the_request_in_flight(
    process: subprocess.Popen[str], tmp_path: Path, number: signal.Signals
) -> None:
    port = port_of(process.stdout)
    with ThreadPoolExecutor(1) as pool:
        response = pool.submit(post_prompt, port)
        wait_until_called(tmp_path)
        process.send_signal(number)
        wait_until(lambda: is_closed(port))
        (tmp_path / "released").touch()
        assert response.result() == "hi"
    assert process.wait(timeout=30) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("drains", [True, False], ids=["while it drains", "at once"])
def test_a_second_signal_ends_the_process_without_a_traceback(
    tmp_path: Path, number: signal.Signals, drains: bool
) -> None:
    with running(tmp_path, *CLI) as process, ThreadPoolExecutor(1) as pool:
        port = port_of(process.stdout)
        response = pool.submit(post_prompt, port)
        wait_until_called(tmp_path)
        process.send_signal(number)
        if drains:
            wait_until(lambda: is_closed(port))

        def has_ended_after_another_signal() -> bool:
            # Repeated, because the kernel merges a signal with an equal one that is pending.
            process.send_signal(number)
            return process.poll() is not None

        wait_until(has_ended_after_another_signal)
        assert process.returncode == -number  # shells return 143 and 130
        assert isinstance(response.exception(), requests.ConnectionError)
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def test_a_request_in_flight_may_run_until_its_timeout(tmp_path: Path) -> None:
    with running(tmp_path, "-c", STUCK) as process, ThreadPoolExecutor(1) as pool:
        response = pool.submit(post_prompt, port_of(process.stdout))
        wait_until_called(tmp_path)
        started = time.monotonic()
        process.terminate()
        assert process.wait(timeout=20) == 0
        assert time.monotonic() - started > 1
        assert isinstance(response.exception(), requests.ConnectionError)


@pytest.mark.parametrize("options", [(), ("--log-prompts",)])
def test_each_request_is_a_line_in_the_log(tmp_path: Path, options: tuple[str, ...]) -> None:
    (tmp_path / "released").touch()
    with running(tmp_path, *CLI, *options) as process:
        assert post_prompt(port_of(process.stdout)) == "hi"
        process.terminate()
        _, log = process.communicate(timeout=20)
    timestamp, bytes_in = r"^20\d\d-\d\d-\d\d \d\d:\d\d:\d\d,\d+", len('{"prompt": "hi"}')
    assert re.search(
        rf"{timestamp} INFO \w+ / 200, {bytes_in} bytes in, [\d.]+ s$", log, re.MULTILINE
    )
    assert ("{'prompt': 'hi'}" in log) == bool(options)
    assert "key" not in log


def test_strict_refuses_parameters_without_effect(tmp_path: Path) -> None:
    (tmp_path / "released").touch()
    with running(tmp_path, *CLI, "--strict") as process:
        url = f"http://127.0.0.1:{port_of(process.stdout)}"
        headers = {"Authorization": "Bearer key"}
        response = requests.post(url, json={"prompt": "hi", "top_p": 1}, headers=headers)
        assert response.status_code == 400
        assert requests.post(url, json={"prompt": "hi"}, headers=headers).json() == "hi"


def test_a_target_that_cannot_be_loaded_fails_before_the_server_listens() -> None:
    with pytest.raises(ConfigurationError, match="no module"):
        serve("dbx_missing:answer", port=7777, api_key="key")


@pytest.mark.parametrize("module", ["torch", "transformers"])
def test_a_model_without_the_extra_is_one_line_with_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert main(["serve", "./model"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("Run: pip install 'langchain-dbx-eval[transformers]'")
