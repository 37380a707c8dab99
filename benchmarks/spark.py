"""``make bench-spark``: rows per second and memory of the driver with ``engine="spark"`` on Sail.

Each measurement is a process of its own. The chain does nothing, so the numbers are those of the
engines. Arguments: the numbers of rows of the Spark engine (default: 10000 200000); the local
engine runs the first one.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_ROWS = ("10000", "200000")
_CONCURRENCY = 32
_CODE = """
import mlflow
from langchain_core.runnables import RunnableLambda
mlflow.models.set_model(RunnableLambda(lambda question: "answer"))
"""


def measure(engine: str, rows: int) -> dict[str, float]:
    """Evaluate the chain in this process."""
    import mlflow
    from langchain_core.runnables import RunnableLambda

    from langchain_dbx_eval import evaluate
    from langchain_dbx_eval.evaluation.spark import SparkOptions
    from langchain_dbx_eval.evaluation.spark.session import spark_session

    with tempfile.TemporaryDirectory() as folder:
        os.environ["DBX_EVAL_HOME"] = folder
        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        mlflow.set_experiment("benchmark")
        options = {
            "evaluator_config": {"databricks-agent": {"metrics": []}},
            "max_concurrency": _CONCURRENCY,
        }
        if engine == "local":
            data = [{"request": f"question {n}"} for n in range(rows)]
            started = time.monotonic()
            result = evaluate(RunnableLambda(lambda question: "answer"), data, **options)
        else:
            code = Path(folder, "no_op.py")
            code.write_text(_CODE)
            frame = spark_session().range(rows).selectExpr("concat('question ', id) AS request")
            started = time.monotonic()
            spark = SparkOptions(trace_sample=100, step_rows=20_000)
            result = evaluate(str(code), frame, engine=spark, **options)
        seconds = time.monotonic() - started
        assert result.metrics["rows/answered"] == rows
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"rows_per_second": rows / seconds, "driver_mb": peak}


def main() -> None:
    """Run each measurement in a process of its own, and print a table."""
    if len(sys.argv) == 3 and sys.argv[1] in ("local", "spark"):
        print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
        return
    counts = sys.argv[1:] or list(_ROWS)
    print("| engine | rows | rows/s | memory of the driver, MB |\n|---|---|---|---|")
    for engine, rows in [("local", counts[0]), *(("spark", count) for count in counts)]:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.spark", engine, rows],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        found = json.loads(done.stdout.splitlines()[-1])
        numbers = f"{found['rows_per_second']:.0f} | {found['driver_mb']:.0f}"
        print(f"| {engine} | {rows} | {numbers} |", flush=True)


if __name__ == "__main__":
    main()
