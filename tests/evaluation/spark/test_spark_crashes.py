"""A worker or a driver that is killed while an evaluation runs on Spark."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.polling import wait_until

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("spark-engine")]

_ROWS = 120
_CONCURRENCY = 4
_PROGRAM = """
import sys
from langchain_dbx_eval import evaluate
from langchain_dbx_eval.evaluation import SparkOptions

url, folder = sys.argv[1:3]

def run(session=None, results="results"):
    data = [{{"request": f"{{url}} {{folder}} {{n}}"}} for n in range({rows})]
    result = evaluate(
        "tests.evaluation.spark.models:remote",
        data,
        evaluator_config={{"databricks-agent": {{"metrics": []}}}},
        scorers=["tests.evaluation.spark.models:length"],
        max_concurrency={concurrency},
        engine=SparkOptions(
            results=f"{{folder}}/{{results}}", session=session, tasks=2, step_rows=60
        ),
    )
    print(int(result.metrics["rows/total"]), int(result.metrics["rows/failed"]), len(result.rows))
"""
_PROGRAM = _PROGRAM.format(rows=_ROWS, concurrency=_CONCURRENCY)
_ON_SAIL = "\nrun()\n"
_ON_SPARK = """
import os
from pyspark.sql import SparkSession
builder = SparkSession.builder.master("local[2,4]")
for name, value in {
    "spark.ui.enabled": "false",
    "spark.sql.shuffle.partitions": "2",
    "spark.sql.warehouse.dir": f"{folder}/warehouse",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
}.items():
    builder = builder.config(name, value)
classic = builder.getOrCreate()
classic.sparkContext.setLogLevel("OFF")
run(classic)
"""


def _environment(tmp_path: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": str(Path(__file__).parents[3]),
        "TMPDIR": str(tmp_path),
        "DBX_EVAL_HOME": str(tmp_path / "home"),
        "MLFLOW_TRACKING_URI": os.environ["MLFLOW_TRACKING_URI"],
    }


def _start(program: str, url: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, url, str(folder)],
        env=_environment(folder),
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.fixture
def store(mlflow_store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_store)


@pytest.mark.usefixtures("store")
def test_a_second_run_after_a_killed_driver_repeats_only_rows_in_flight(
    endpoint, tmp_path: Path
) -> None:
    pytest.importorskip("pysail", reason="the extra sail is not installed")
    first = _start(_PROGRAM + _ON_SAIL, endpoint.url, tmp_path)
    try:
        # In the second step: the first one is committed.
        wait_until(lambda: len(endpoint.counts) >= 85, timeout=300)
    finally:
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
    second = _start(_PROGRAM + _ON_SAIL, endpoint.url, tmp_path)
    output, _ = second.communicate(timeout=300)
    assert output.split()[-3:] == [str(_ROWS), "0", str(_ROWS)]
    assert len(endpoint.counts) == _ROWS
    assert sum(endpoint.counts.values()) <= _ROWS + _CONCURRENCY


@pytest.mark.skipif(
    shutil.which("java") is None, reason="Spark needs Java, which is not on this machine"
)
@pytest.mark.usefixtures("store")
def test_a_killed_worker_of_classic_spark_repeats_only_rows_in_flight(
    endpoint, tmp_path: Path
) -> None:
    (tmp_path / "kill-worker").touch()
    running = _start(_PROGRAM + _ON_SPARK, endpoint.url, tmp_path)
    output, _ = running.communicate(timeout=400)
    assert not (tmp_path / "kill-worker").exists()
    assert output.split()[-3:] == [str(_ROWS), "0", str(_ROWS)]
    assert len(endpoint.counts) == _ROWS
    assert _ROWS < sum(endpoint.counts.values()) <= _ROWS + _CONCURRENCY
