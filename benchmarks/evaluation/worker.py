"""One system in its own environment and process, which runs and measures evaluations.

``python -m benchmarks.evaluation.worker SYSTEM FOLDER`` reads one JSON object per line from stdin,
``{"rows": 200, "seconds": 0.05, "max_concurrency": 50}``, evaluates that many rows with a model
that takes that long, and writes one JSON object to stdout: a `Measurement` or ``{"error": "…"}``.
All systems have the same questions and the same scorer of one line; those that store results use
their own SQLite store in FOLDER.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_EXPERIMENT = "bench-eval"
# Before the first measurement: imports, connections, threads.
_WARM_UP = {"rows": 20, "seconds": 0.0, "max_concurrency": 50}


@dataclass
class Measurement:
    """The measurement of one evaluation.

    Attributes:
        seconds: Duration of the call, until all results are written.
        scored_s: Seconds until the last row was scored.
        in_result: Rows with a score in the result.
        in_store: Rows with a score in the store; None: the system stores nothing.
        memory_kib: Growth of the process during the call at its peak, in KiB.
    """

    seconds: float
    scored_s: float
    in_result: int
    in_store: int | None
    memory_kib: int


class TimedScorer:
    """The scorer of all systems, which records the time of its last call."""

    def __init__(self) -> None:
        self.last_call = 0.0

    def __call__(self, response: str) -> bool:
        self.last_call = time.perf_counter()
        return response.startswith("answer")


class Ours:
    """`langchain_dbx_eval.evaluate`."""

    def __init__(self, folder: Path) -> None:
        from langchain_dbx_eval import evaluate, scorer

        os.environ["DBX_EVAL_HOME"] = str(folder / "home")
        self._count_stored = _create_store(folder)
        self._evaluate, self._as_scorer = evaluate, scorer

    def run(self, rows: int, seconds: float, max_concurrency: int) -> Measurement:
        data = [{"request": f"question {n}"} for n in range(rows)]
        timed_scorer = TimedScorer()

        @self._as_scorer(name="exact")
        def exact(response: str) -> bool:
            return timed_scorer(response)

        async def model(request: Any) -> str:
            await asyncio.sleep(seconds)
            return "answer"

        start = time.perf_counter()
        result = self._evaluate(model, data, scorers=[exact], max_concurrency=max_concurrency)
        elapsed, peak = time.perf_counter() - start, _resident()["VmHWM"]
        kept = sum(bool(row.assessments) for row in result.rows)
        return Measurement(
            elapsed, timed_scorer.last_call - start, kept, self._count_stored(result.run_id), peak
        )


class Mlflow:
    """`mlflow.genai.evaluate`; the number of workers is set by environment variables."""

    def __init__(self, folder: Path) -> None:
        self._count_stored = _create_store(folder)

    def run(self, rows: int, seconds: float, max_concurrency: int) -> Measurement:
        import mlflow

        data = [{"inputs": {"question": f"question {n}"}} for n in range(rows)]
        timed_scorer = TimedScorer()

        @mlflow.genai.scorer
        def exact(outputs: str) -> bool:
            return timed_scorer(outputs)

        def predict(question: str) -> str:
            time.sleep(seconds)
            return "answer"

        start = time.perf_counter()
        result = mlflow.genai.evaluate(data=data, predict_fn=predict, scorers=[exact])
        elapsed, peak = time.perf_counter() - start, _resident()["VmHWM"]
        frame = result.result_df
        kept = int(frame["exact/value"].notna().sum()) if "exact/value" in frame else 0
        return Measurement(
            elapsed, timed_scorer.last_call - start, kept, self._count_stored(result.run_id), peak
        )


class PydanticEvals:
    """`pydantic_evals`, which stores nothing unless Logfire is configured."""

    def __init__(self, folder: Path) -> None:
        from pydantic_evals import Case, Dataset
        from pydantic_evals.evaluators import Evaluator

        self._case, self._dataset, self._evaluator = Case, Dataset, Evaluator

    def run(self, rows: int, seconds: float, max_concurrency: int) -> Measurement:
        timed_scorer = TimedScorer()

        class Exact(self._evaluator):  # type: ignore[misc,name-defined]
            def evaluate(self, ctx: Any) -> bool:
                return timed_scorer(ctx.output)

        async def model(request: str) -> str:
            await asyncio.sleep(seconds)
            return "answer"

        start = time.perf_counter()
        cases = [self._case(name=str(n), inputs=f"question {n}") for n in range(rows)]
        dataset = self._dataset(name="bench", cases=cases, evaluators=[Exact()])
        report = dataset.evaluate_sync(model, max_concurrency=max_concurrency, progress=False)
        elapsed, peak = time.perf_counter() - start, _resident()["VmHWM"]
        kept = sum(bool(case.assertions) for case in report.cases)
        return Measurement(elapsed, timed_scorer.last_call - start, kept, None, peak)


SYSTEMS: dict[str, Callable[[Path], Ours | Mlflow | PydanticEvals]] = {
    "ours": Ours,
    "mlflow": Mlflow,
    "mlflow-defaults": Mlflow,
    "pydantic-evals": PydanticEvals,
}


def _create_store(folder: Path) -> Callable[[str | None], int]:
    """Create an MLflow store and use it; return a function that counts a run's scored rows."""
    import mlflow

    # Creating the tables takes seconds, so the first system creates a template for all.
    template = folder.parent / "template.db"
    if not template.exists():
        mlflow.set_tracking_uri(f"sqlite:///{template}")
        mlflow.search_experiments()
    shutil.copy(template, folder / "mlflow.db")
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    mlflow.set_experiment(_EXPERIMENT)

    def count_stored(run_id: str | None) -> int:
        traces = mlflow.search_traces(run_id=run_id, return_type="list", include_spans=False)
        return sum(any(a.name == "exact" for a in trace.info.assessments) for trace in traces)

    return count_stored


def _resident() -> dict[str, int]:
    """Return the current and the peak memory of this process in KiB (Linux; elsewhere 0)."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return {"VmRSS": 0, "VmHWM": 0}
    values = dict(line.split(":", 1) for line in lines)
    return {name: int(values[name].split()[0]) for name in ("VmRSS", "VmHWM")}


def _measure(system: Any, task: dict[str, Any]) -> Measurement:
    gc.collect()
    before = _resident()["VmRSS"]
    if before:
        # Resets the peak (Linux, proc(5)).
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    measurement: Measurement = system.run(**task)
    measurement.memory_kib -= before
    return measurement


def main() -> None:
    """Run the evaluations from stdin until it is closed."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    # MLflow prints to stdout: only answers are written to it.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    system = None
    for line in sys.stdin:
        answer: dict[str, Any]
        try:
            if system is None:
                system = SYSTEMS[name](folder)
                system.run(**_WARM_UP)
            answer = asdict(_measure(system, json.loads(line)))
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
