"""The sides of the comparison, each a process of its own; and what they said."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from types import TracebackType

from typing_extensions import Self

from benchmarks.evaluation.worker import Found

ROOT = Path(__file__).parents[2]
_PEERS = ROOT / ".venv-bench" / "pydantic-evals"
_PYDANTIC_EVALS = "pydantic-evals==2.62.0"

_OFTEN = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_ENABLE_ASYNC_TRACE_LOGGING": "true"}
_CAPPED = {"MLFLOW_GENAI_EVAL_MAX_WORKERS": "10", "MLFLOW_GENAI_EVAL_PREDICT_RATE_LIMIT": "0"}
TITLES = {
    "ours": "langchain_dbx_eval.evaluate",
    "mlflow": "mlflow.genai.evaluate, 10 workers, no rate limit",
    "mlflow-defaults": "mlflow.genai.evaluate, at its defaults",
    "pydantic-evals": "pydantic_evals (stores nothing)",
}


class SideError(Exception):
    """A side could not do what it was told to, or not in time; the message says which."""


@dataclass(frozen=True)
class Task:
    """What a side is asked for.

    Attributes:
        rows: How many.
        seconds: What each takes; 0 for a model that does nothing.
        in_flight: How many at once, where a side lets one choose.
    """

    rows: int
    seconds: float
    in_flight: int = 50

    def __str__(self) -> str:
        kind = f"{self.seconds * 1000:.0f} ms" if self.seconds else "no-op"
        return f"{self.rows:,} rows, {kind}"


class Side:
    """A worker process; it ends when its stdin does."""

    def __init__(self, name: str, folder: Path) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
        environment |= _OFTEN | (_CAPPED if name == "mlflow" else {})
        python = _python_of_peer() if name == "pydantic-evals" else sys.executable
        command = [python, "-W", "ignore", "-m", "benchmarks.evaluation.worker", name]
        self._process = subprocess.Popen(
            [*command, str(folder)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def do(self, task: Task, patience_s: float) -> Found:
        """Evaluate.

        Raises:
            SideError: It failed, or took longer than that.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if self._process.poll() is not None:
            raise SideError("its process has ended")
        self._process.stdin.write(json.dumps(vars(task)).encode() + b"\n")
        self._process.stdin.flush()
        if not select.select([self._process.stdout], [], [], patience_s)[0]:
            self._process.kill()
            raise SideError(f"not done within {patience_s:.0f} s")
        answer = json.loads(self._process.stdout.readline() or b'{"error": "its process ended"}')
        if "error" in answer:
            raise SideError(answer["error"])
        return Found(**answer)


@dataclass
class Figures:
    """What the sides said of one task.

    Attributes:
        task: The task.
        found: By side, what each of its rounds gave.
        failures: By side, why there is nothing.
    """

    task: Task
    found: dict[str, list[Found]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def seconds(self, side: str) -> float | None:
        """The median of the whole call's time."""
        rounds = self.found.get(side)
        return median(found.seconds for found in rounds) if rounds else None

    def scored_s(self, side: str) -> float | None:
        """The median of the time until the last row is scored."""
        rounds = self.found.get(side)
        return median(found.scored_s for found in rounds) if rounds else None

    def table(self) -> str:
        """The figures as lines of text."""
        head = (
            f"{self.task!s:48} {'in result':>9} {'in store':>9} {'s':>8} {'ms/row':>8} {'ratio':>7}"
        )
        return "\n".join([head, *(self._line(side) for side in [*self.found, *self.failures])])

    def _line(self, side: str) -> str:
        if side in self.failures:
            return f"  {TITLES[side]:46} {self.failures[side]}"
        rounds, seconds = self.found[side], self.seconds(side) or 0.0
        result = min(found.in_result for found in rounds)
        stored = [found.in_store for found in rounds if found.in_store is not None]
        ours = self.seconds("ours")
        ratio = f"{seconds / ours:6.2f}x" if ours else ""
        return (
            f"  {TITLES[side]:46} {result:9} {min(stored, default='none')!s:>9} "
            f"{seconds:8.2f} {1000 * seconds / self.task.rows:8.2f} {ratio:>7}"
        )


def _python_of_peer() -> str:
    """The interpreter that has pydantic_evals; its environment is made where it is missing."""
    python, stamp = _PEERS / "bin" / "python", _PEERS / "installed"
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != _PYDANTIC_EVALS:
        environment = {**os.environ, "UV_SYSTEM_CERTS": "true", "UV_NATIVE_TLS": "true"}
        print(f"Installing {_PYDANTIC_EVALS} into {_PEERS.relative_to(ROOT)} …", flush=True)
        for command in (
            ["uv", "venv", "--quiet", "--clear", "--python", ">=3.10", str(_PEERS)],
            ["uv", "pip", "install", "--quiet", "--python", str(python), _PYDANTIC_EVALS],
        ):
            subprocess.run(command, check=True, env=environment, cwd=ROOT)
        stamp.write_text(_PYDANTIC_EVALS, encoding="utf-8")
    return str(python)
