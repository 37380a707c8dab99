"""The processes of a run: the server, one worker for each client, and imports made fresh."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from types import TracebackType
from typing import IO

from typing_extensions import Self

from benchmarks.clients.environments import ROOT

_PATIENCE_S = 90.0
_IMPORT = """
import importlib, json, resource, sys, time
module, name = sys.argv[1].split(":")
wall, cpu = time.perf_counter(), time.process_time()
getattr(importlib.import_module(module), name)
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
# ru_maxrss counts KiB, but on macOS bytes.
unit = 2**20 if sys.platform == "darwin" else 2**10
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
print(json.dumps({"wall": wall, "cpu": cpu, "memory": memory}))
"""


class ClientError(Exception):
    """A client could not do what it was told to; the message is its own."""


class Process:
    """A module of this folder, run by some interpreter; it ends when its stdin does."""

    def __init__(self, python: str, module: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [python, "-m", f"benchmarks.clients.{module}", *arguments],
            cwd=ROOT,
            env=_environment(),
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.stdin: IO[str] = self._process.stdin
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._collect, args=(self._process.stdout,), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def line(self) -> str:
        """The next line that it prints.

        Raises:
            ClientError: None came in a minute and a half, or it ended.
        """
        try:
            line = self._lines.get(timeout=_PATIENCE_S)
        except queue.Empty:
            self._process.kill()
            raise ClientError(f"no answer in {_PATIENCE_S:.0f} s") from None
        if not line:
            raise ClientError(f"its process ended with {self._process.wait()}")
        return line

    def _collect(self, stdout: IO[str]) -> None:
        for line in stdout:
            self._lines.put(line)
        self._lines.put("")


class Server(Process):
    """The loopback server."""

    def __init__(self) -> None:
        super().__init__(sys.executable, "server")
        self.host = f"http://127.0.0.1:{int(self.line())}"


class Worker(Process):
    """One client."""

    def __init__(self, client: str, python: str, host: str) -> None:
        super().__init__(python, "worker", client, host)

    def do(self, task: str, model: str, count: int) -> dict[str, float]:
        """Seconds of wall and CPU time that it took.

        Raises:
            ClientError: The client could not do it.
        """
        self.stdin.write(json.dumps({"task": task, "model": model, "count": count}) + "\n")
        self.stdin.flush()
        answer: dict[str, float] = json.loads(self.line())
        if "error" in answer:
            raise ClientError(str(answer["error"]))
        return answer


def import_alone(python: str, what: str) -> dict[str, float]:
    """Import ``module:name`` in a fresh process.

    Returns:
        Seconds of wall and CPU time, and the memory (MiB) of the process after it.

    Raises:
        ClientError: It cannot be imported.
    """
    command = [python, "-W", "ignore", "-c", _IMPORT, what]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=_PATIENCE_S, env=_environment()
    )
    if done.returncode:
        raise ClientError(done.stderr.strip().splitlines()[-1])
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _environment() -> dict[str, str]:
    # No login, tracing or proxy of whoever runs this changes what is measured.
    foreign = ("DATABRICKS_", "LANGCHAIN_", "LANGSMITH_", "OPENAI_", "MLFLOW_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {**kept, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
