"""One way to evaluate, in its own environment and process, which measures what it is told to.

``python -m benchmarks.evaluation.worker SIDE FOLDER`` reads one JSON object a line from stdin,
``{"rows": 200, "seconds": 0.05, "in_flight": 50}``, evaluates that many rows that take that long
each, and writes one to stdout: a `Found`, or ``{"error": "…"}``. All sides ask the same questions,
have the same scorer of one line, and write to a SQLite store of their own under FOLDER, where they
write at all.
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
# Whatever a first call costs: imports, connections, threads.
_WARM_UP = {"rows": 20, "seconds": 0.0, "in_flight": 50}


@dataclass
class Found:
    """What one evaluation took, and what it kept.

    Attributes:
        seconds: The whole call, everything written.
        scored_s: Until the last row was scored.
        in_result: Rows in the result that have a score.
        in_store: Rows in the store that have a score; None where nothing is stored.
        memory_kib: How far the process grew until it was written, at its peak; what counts the
            rows afterwards is not in it.
    """

    seconds: float
    scored_s: float
    in_result: int
    in_store: int | None
    memory_kib: int


class Scored:
    """The scorer that all sides have; it knows when it was last asked."""

    def __init__(self) -> None:
        self.last = 0.0

    def __call__(self, response: str) -> bool:
        self.last = time.perf_counter()
        return response.startswith("answer")


class Ours:
    """`langchain_dbx_eval.evaluate`."""

    def __init__(self, folder: Path) -> None:
        from langchain_dbx_eval import evaluate, scorer

        os.environ["DBX_EVAL_HOME"] = str(folder / "home")
        self._store = _store(folder)
        self._evaluate, self._as_scorer = evaluate, scorer

    def run(self, rows: int, seconds: float, in_flight: int) -> Found:
        data = [{"request": f"question {n}"} for n in range(rows)]
        scored = Scored()

        @self._as_scorer(name="exact")
        def exact(response: str) -> bool:
            return scored(response)

        async def model(request: Any) -> str:
            await asyncio.sleep(seconds)
            return "answer"

        began = time.perf_counter()
        result = self._evaluate(model, data, scorers=[exact], max_concurrency=in_flight)
        took, peak = time.perf_counter() - began, _resident()["VmHWM"]
        kept = sum(bool(row.assessments) for row in result.rows)
        return Found(took, scored.last - began, kept, self._store(result.run_id), peak)


class Mlflow:
    """`mlflow.genai.evaluate`; its environment says with how many workers."""

    def __init__(self, folder: Path) -> None:
        self._store = _store(folder)

    def run(self, rows: int, seconds: float, in_flight: int) -> Found:
        import mlflow

        data = [{"inputs": {"question": f"question {n}"}} for n in range(rows)]
        scored = Scored()

        @mlflow.genai.scorer
        def exact(outputs: str) -> bool:
            return scored(outputs)

        def predict(question: str) -> str:
            time.sleep(seconds)
            return "answer"

        began = time.perf_counter()
        result = mlflow.genai.evaluate(data=data, predict_fn=predict, scorers=[exact])
        took, peak = time.perf_counter() - began, _resident()["VmHWM"]
        frame = result.result_df
        kept = int(frame["exact/value"].notna().sum()) if "exact/value" in frame else 0
        return Found(took, scored.last - began, kept, self._store(result.run_id), peak)


class PydanticEvals:
    """`pydantic_evals`, which writes nothing unless Logfire is told to."""

    def __init__(self, folder: Path) -> None:
        from pydantic_evals import Case, Dataset
        from pydantic_evals.evaluators import Evaluator

        self._case, self._dataset, self._evaluator = Case, Dataset, Evaluator

    def run(self, rows: int, seconds: float, in_flight: int) -> Found:
        scored = Scored()

        class Exact(self._evaluator):  # type: ignore[misc,name-defined]
            def evaluate(self, ctx: Any) -> bool:
                return scored(ctx.output)

        async def model(request: str) -> str:
            await asyncio.sleep(seconds)
            return "answer"

        began = time.perf_counter()
        cases = [self._case(name=str(n), inputs=f"question {n}") for n in range(rows)]
        dataset = self._dataset(name="bench", cases=cases, evaluators=[Exact()])
        report = dataset.evaluate_sync(model, max_concurrency=in_flight, progress=False)
        took, peak = time.perf_counter() - began, _resident()["VmHWM"]
        kept = sum(bool(case.assertions) for case in report.cases)
        return Found(took, scored.last - began, kept, None, peak)


SIDES: dict[str, Callable[[Path], Ours | Mlflow | PydanticEvals]] = {
    "ours": Ours,
    "mlflow": Mlflow,
    "mlflow-defaults": Mlflow,
    "pydantic-evals": PydanticEvals,
}


def _store(folder: Path) -> Callable[[str | None], int]:
    """Point MLflow to a store of this side's own; how many scored rows a run has there."""
    import mlflow

    # To make a store's tables takes seconds, which the first side spends for all.
    template = folder.parent / "template.db"
    if not template.exists():
        mlflow.set_tracking_uri(f"sqlite:///{template}")
        mlflow.search_experiments()
    shutil.copy(template, folder / "mlflow.db")
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    mlflow.set_experiment(_EXPERIMENT)

    def kept(run_id: str | None) -> int:
        found = mlflow.search_traces(run_id=run_id, return_type="list", include_spans=False)
        return sum(any(a.name == "exact" for a in trace.info.assessments) for trace in found)

    return kept


def _resident() -> dict[str, int]:
    """KiB that this process has, and had at its peak (Linux; 0 elsewhere)."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return {"VmRSS": 0, "VmHWM": 0}
    values = dict(line.split(":", 1) for line in lines)
    return {name: int(values[name].split()[0]) for name in ("VmRSS", "VmHWM")}


def _measured(side: Any, asked: dict[str, Any]) -> Found:
    gc.collect()
    before = _resident()["VmRSS"]
    if before:
        # From now on the peak is counted anew (Linux, proc(5)).
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    found: Found = side.run(**asked)
    found.memory_kib -= before
    return found


def main() -> None:
    """Do what stdin says, until it ends."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    # MLflow prints where it likes; what is written here are answers alone.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    side = None
    for line in sys.stdin:
        answer: dict[str, Any]
        try:
            if side is None:
                side = SIDES[name](folder)
                side.run(**_WARM_UP)
            answer = asdict(_measured(side, json.loads(line)))
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
