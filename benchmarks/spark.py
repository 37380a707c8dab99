"""``make bench-spark``: rows per second and memory of the driver with ``engine="spark"`` on Sail.

The chain does nothing, so the numbers are those of the engines; both have the same number of rows
in flight. Each measurement is a process of its own. The engines take turns, and the ratio is that
of neighbors. Then the Spark engine runs larger datasets, for the memory of the driver: a process
without the server of Sail, in which the tasks run.

Arguments: the numbers of rows of the second part; default: 10000. 200000 take a quarter of an hour.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

_ROUNDS = 3
_ROWS = 2000
_CONCURRENCY = 32
_CODE = """
import mlflow
from langchain_core.runnables import RunnableLambda
mlflow.models.set_model(RunnableLambda(lambda question: "answer"))
"""


def measure(engine: str, rows: int) -> dict[str, float]:
    """Evaluate the chain in this process.

    Returns:
        Rows per second; the CPU time of a row in ms, on Spark that of the tasks; and the memory of
        this process in MB, before the evaluation and at its peak.
    """
    import mlflow
    from langchain_core.runnables import RunnableLambda

    from langchain_dbx_eval import evaluate
    from langchain_dbx_eval.evaluation.spark import SparkOptions
    from langchain_dbx_eval.evaluation.spark.session import _sail, spark_session

    with tempfile.TemporaryDirectory() as folder:
        os.environ["DBX_EVAL_HOME"] = folder
        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        mlflow.set_experiment("benchmark")
        options: dict[str, Any] = {
            "evaluator_config": {"databricks-agent": {"metrics": []}},
            "max_concurrency": _CONCURRENCY,
        }
        if engine == "local":
            data = [{"request": f"question {n}"} for n in range(rows)]
            before, started, cpu = _peak_mb(), time.monotonic(), _cpu_s(os.getpid())
            result = evaluate(RunnableLambda(lambda question: "answer"), data, **options)
            cpu = _cpu_s(os.getpid()) - cpu
        else:
            code = Path(folder, "no_op.py")
            code.write_text(_CODE)
            frame = spark_session().range(rows).selectExpr("concat('question ', id) AS request")
            frame.count()
            server = _sail[0][0].pid
            before, started, cpu = _peak_mb(), time.monotonic(), _cpu_s(server)
            spark = SparkOptions(trace_sample=100, step_rows=20_000)
            result = evaluate(str(code), frame, engine=spark, **options)
            cpu = _cpu_s(server) - cpu
        seconds = time.monotonic() - started
        assert result.metrics["rows/answered"] == rows
    return {
        "rows_per_second": rows / seconds,
        "cpu_ms": 1000 * cpu / rows,
        "before_mb": before,
        "driver_mb": _peak_mb(),
    }


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _cpu_s(pid: int) -> float:
    """Return the CPU time of a process (proc_pid_stat(5), fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _run(engine: str, rows: int) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "benchmarks.spark", engine, str(rows)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Run each measurement in a process of its own, and print tables."""
    if len(sys.argv) == 3 and sys.argv[1] in ("local", "spark"):
        print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
        return
    head = "local, rows/s | Spark, rows/s | ratio | local, CPU ms per row | tasks, CPU ms per row"
    print(f"| {_ROWS} rows | {head} |\n|---|---|---|---|---|---|")
    ratios = []
    for number in range(1, _ROUNDS + 1):
        local, spark = (_run(engine, _ROWS) for engine in ("local", "spark"))
        ratios.append(spark["rows_per_second"] / local["rows_per_second"])
        print(
            f"| round {number} | {local['rows_per_second']:.0f} | {spark['rows_per_second']:.0f} "
            f"| {ratios[-1]:.2f} | {local['cpu_ms']:.1f} | {spark['cpu_ms']:.1f} |",
            flush=True,
        )
    print(f"\nMedian of the ratios: {statistics.median(ratios):.2f}\n")
    head = "rows/s | tasks, CPU ms per row | driver before, MB | driver at its peak, MB"
    print(f"| rows | {head} |\n|---|---|---|---|---|")
    for rows in map(int, sys.argv[1:] or ["10000"]):
        found = _run("spark", rows)
        numbers = (f"{found[name]:.0f}" for name in ("rows_per_second", "before_mb", "driver_mb"))
        rate, before, peak = numbers
        print(f"| {rows} | {rate} | {found['cpu_ms']:.1f} | {before} | {peak} |", flush=True)


if __name__ == "__main__":
    main()
