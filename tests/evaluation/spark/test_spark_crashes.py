"""A worker or a driver that is killed while an evaluation runs on Spark."""

from __future__ import annotations

import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.polling import wait_until

pytestmark = [pytest.mark.timeout(1500), pytest.mark.xdist_group("spark-engine")]

_ROWS = 80
# By the hashes of the records, which are the same in each run.
_ROWS_OF_FIRST_STEP = 40
_CONCURRENCY = 4
_PROGRAM = """
import sys
from langchain_dbx_eval import errors, evaluate
from langchain_dbx_eval.evaluation import SparkOptions

folder, engine = sys.argv[1:]
session = None
if engine == "spark":
    from pyspark.sql import SparkSession
    # A task is tried up to four times, which is the default of a cluster.
    builder = SparkSession.builder.master("local[2,4]")
    for name, value in {{
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.warehouse.dir": f"{{folder}}/warehouse",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
    }}.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("OFF")

def run():
    return evaluate(
        "tests.evaluation.spark.models:remote",
        [{{"request": f"{{n}}"}} for n in range({rows})],
        evaluator_config={{"databricks-agent": {{"metrics": []}}}},
        scorers=["tests.evaluation.spark.models:length"],
        max_concurrency={concurrency},
        engine=SparkOptions(
            results=f"{{folder}}/results", session=session, tasks=2, step_rows={step_rows}
        ),
    )

try:
    result = run()
except errors.DatabricksError as error:
    print(error, flush=True)
    result = run()
print(int(result.metrics["rows/total"]), int(result.metrics["rows/failed"]), len(result.rows))
"""
_PROGRAM = _PROGRAM.format(rows=_ROWS, step_rows=_ROWS_OF_FIRST_STEP, concurrency=_CONCURRENCY)
_NEEDS_JAVA = pytest.mark.skipif(
    shutil.which("java") is None, reason="Spark needs Java, which is not on this machine"
)


def _environment(url: str, tmp_path: Path) -> dict[str, str]:
    return {
        **os.environ,
        "SPARK_TEST_URL": url,
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": str(Path(__file__).parents[3]),
        "TMPDIR": str(tmp_path),
        "DBX_EVAL_HOME": str(tmp_path / "home"),
        "MLFLOW_TRACKING_URI": os.environ["MLFLOW_TRACKING_URI"],
    }


def _start(url: str, folder: Path, engine: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, str(folder), engine],
        env=_environment(url, folder),
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize("engine", ["sail", pytest.param("spark", marks=_NEEDS_JAVA)])
def test_only_rows_in_flight_are_repeated_after_a_killed_worker_and_a_killed_driver(
    engine: str, endpoint, mlflow_store: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On Sail, the tasks run in the process of the server, and the second run starts another."""
    if engine == "sail":
        pytest.importorskip("pysail", reason="the extra sail is not installed")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_store)

    def hold_all(count: int, running: subprocess.Popen[str]) -> dict[int, set[str]]:
        """Wait until all rows in flight are held, after a number of rows."""
        endpoint.hold_after(count)

        def is_held() -> bool:
            assert running.poll() is None, running.communicate()
            in_flight = sum(map(len, endpoint.held.values()))
            assert in_flight <= _CONCURRENCY
            return in_flight == _CONCURRENCY

        wait_until(is_held, timeout=500)
        return {pid: set(numbers) for pid, numbers in endpoint.held.items()}

    first = _start(endpoint.url, tmp_path, engine)
    try:
        held = hold_all(5, first)
        worker = min(held)
        os.kill(worker, signal.SIGKILL)
        hold_all(_ROWS_OF_FIRST_STEP + 5, first)
        repeated = {number for number, count in endpoint.counts.items() if count > 1}
        assert repeated == held[worker]
        assert list((tmp_path / "results").glob("*.parquet")), "the first step is not committed"
    finally:
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
    endpoint.hold_after(math.inf)
    second = _start(endpoint.url, tmp_path, engine)
    output, _ = second.communicate(timeout=500)
    assert output.split()[-3:] == [str(_ROWS), "0", str(_ROWS)]
    assert len(endpoint.counts) == _ROWS
    # Workers of classic Spark live a little longer than their driver.
    repeated_after_driver = endpoint.counts.total() - _ROWS - len(held[worker])
    assert 0 <= repeated_after_driver <= _CONCURRENCY
