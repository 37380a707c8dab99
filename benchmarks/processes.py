"""Worker processes of benchmarks."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from typing_extensions import Self

from benchmarks.environments import ROOT

__all__ = ["WorkerError", "WorkerProcess", "clean_environment"]

_EXIT_S = 5.0


class WorkerError(Exception):
    """A worker failed, or did not answer in time; the message is the reason."""


class WorkerProcess:
    """A process that runs a module of this package until its standard input is closed.

    It reads one JSON object per line from its standard input, and writes one per line to its
    standard output; an object with the key `error` reports a failure.

    Args:
        python: The interpreter.
        module: The name of the module.
        arguments: Its command-line arguments.
        environment: Additional environment variables.
    """

    def __init__(
        self,
        python: str,
        module: str,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._process = subprocess.Popen(
            [python, "-W", "ignore", "-m", module, *arguments],
            cwd=ROOT,
            env=clean_environment() | dict(environment or {}),
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read_lines, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(_EXIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def request(self, payload: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """Send a request and return the answer.

        Raises:
            WorkerError: The worker reported a failure, ended, or did not answer in time.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(payload) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise WorkerError(f"its process ended with {self._process.wait()}") from None
        answer: dict[str, Any] = json.loads(self.read_line(timeout_s))
        if "error" in answer:
            raise WorkerError(str(answer["error"]))
        return answer

    def read_line(self, timeout_s: float) -> str:
        """Return the next line of its output.

        Raises:
            WorkerError: The worker ended, or printed no line in time.
        """
        try:
            line = self._lines.get(timeout=timeout_s)
        except queue.Empty:
            self._process.kill()
            raise WorkerError(f"no answer within {timeout_s:.0f} s") from None
        if not line:
            raise WorkerError(f"its process ended with {self._process.wait()}")
        return line

    def _read_lines(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")


def clean_environment() -> dict[str, str]:
    """Return the environment without the user's credentials, tracing and proxies."""
    prefixes = ("DATABRICKS_", "LANGCHAIN_", "LANGSMITH_", "OPENAI_", "MLFLOW_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
    return {**kept, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
