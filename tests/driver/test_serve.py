"""`serve` as the command line runs it: a process of its own, ended by a signal."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import pytest
import requests

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
from langchain_dbx_eval.driver import serve
serve("slow_app:answer", host="127.0.0.1", port=0, api_key="key")
"""


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    (tmp_path / "slow_app.py").write_text(MODULE)
    command = [sys.executable, "-c", PROGRAM]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def port_of(output: IO[str] | None) -> int:
    assert output is not None
    match = re.search(r"http://127\.0\.0\.1:(\d+)", output.readline())
    assert match is not None
    return int(match.group(1))


def ask(port: int) -> str:
    headers = {"X-Api-Key": "key"}
    answer = requests.post(f"http://127.0.0.1:{port}", json={"prompt": "hi"}, headers=headers)
    return str(answer.json())


def wait_until_refused(port: int) -> None:
    while True:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) != 0:
                return
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_0_after_the_request_in_flight(
    process: subprocess.Popen[str], tmp_path: Path, number: signal.Signals
) -> None:
    port = port_of(process.stdout)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, port)
        while not (tmp_path / "entered").exists():
            time.sleep(0.01)
        process.send_signal(number)
        wait_until_refused(port)
        (tmp_path / "released").touch()
        assert answer.result() == "hi"
    assert process.wait(timeout=30) == 0


def test_a_target_that_cannot_be_loaded_is_told_before_the_port_is_taken() -> None:
    with pytest.raises(ConfigurationError, match="no module"):
        serve("dbx_missing:answer", port=7777, api_key="key")
