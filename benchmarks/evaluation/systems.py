"""The compared systems, one process each, and their measurements."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.environments import python_of_environment
from benchmarks.evaluation.worker import Measurement
from benchmarks.processes import WorkerProcess

_SETTINGS = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_ENABLE_ASYNC_TRACE_LOGGING": "true"}
_MLFLOW_LIMITS = {
    "MLFLOW_GENAI_EVAL_MAX_WORKERS": "10",
    "MLFLOW_GENAI_EVAL_PREDICT_RATE_LIMIT": "0",
}
TITLES = {
    "ours": "langchain_dbx_eval.evaluate",
    "mlflow": "mlflow.genai.evaluate, 10 workers, no rate limit",
    "mlflow-defaults": "mlflow.genai.evaluate, default settings",
    "pydantic-evals": "pydantic_evals (stores nothing)",
}


@dataclass(frozen=True)
class Task:
    """An evaluation to run.

    Attributes:
        rows: The number of rows.
        seconds: The duration of a model call; 0 for a model that returns at once.
        max_concurrency: Concurrent calls, if the system has such an option.
    """

    rows: int
    seconds: float
    max_concurrency: int = 50

    def __str__(self) -> str:
        kind = f"{self.seconds * 1000:.0f} ms" if self.seconds else "no-op"
        return f"{self.rows:,} rows, {kind}"


class System(WorkerProcess):
    """The worker process of one system.

    Args:
        name: A key of `TITLES`.
        folder: The folder for its files.
    """

    def __init__(self, name: str, folder: Path) -> None:
        python = sys.executable
        if name == "pydantic-evals":
            python = python_of_environment(name, "pydantic-evals==2.62.0")
        super().__init__(
            python,
            "benchmarks.evaluation.worker",
            name,
            str(folder),
            environment=_SETTINGS | (_MLFLOW_LIMITS if name == "mlflow" else {}),
        )

    def run(self, task: Task, timeout_s: float) -> Measurement:
        """Run an evaluation.

        Raises:
            WorkerError: It failed, or took longer than the timeout.
        """
        return Measurement(**self.request(asdict(task), timeout_s))


@dataclass
class Results:
    """The measurements of one task.

    Attributes:
        task: The task.
        measurements: The measurements of each system, one per round.
        failures: The errors of systems that failed.
    """

    task: Task
    measurements: dict[str, list[Measurement]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def seconds(self, system: str) -> float | None:
        """Return the median duration of the call; None: there is no measurement."""
        rounds = self.measurements.get(system)
        return median(one.seconds for one in rounds) if rounds else None

    def scored_s(self, system: str) -> float | None:
        """Return the median time until the last row was scored; None: there is no measurement."""
        rounds = self.measurements.get(system)
        return median(one.scored_s for one in rounds) if rounds else None

    def table(self) -> str:
        """Format the measurements."""
        head = (
            f"{self.task!s:48} {'in result':>9} {'in store':>9} {'s':>8} {'ms/row':>8} {'ratio':>7}"
        )
        return "\n".join([head, *map(self._line, [*self.measurements, *self.failures])])

    def _line(self, system: str) -> str:
        if system in self.failures:
            return f"  {TITLES[system]:46} {self.failures[system]}"
        rounds, seconds = self.measurements[system], self.seconds(system) or 0.0
        result = min(one.in_result for one in rounds)
        stored = [one.in_store for one in rounds if one.in_store is not None]
        ours = self.seconds("ours")
        ratio = f"{seconds / ours:6.2f}x" if ours else ""
        return (
            f"  {TITLES[system]:46} {result:9} {min(stored, default='none')!s:>9} "
            f"{seconds:8.2f} {1000 * seconds / self.task.rows:8.2f} {ratio:>7}"
        )
