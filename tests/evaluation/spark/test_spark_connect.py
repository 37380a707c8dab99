"""The engine and the datasets on a Spark Connect server, whose client has neither JVM nor RDDs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest

from langchain_dbx_eval import EvalDataset, evaluate
from langchain_dbx_eval.evaluation import SparkOptions
from tests.evaluation.spark import models

pytestmark = [
    pytest.mark.skipif(
        shutil.which("java") is None, reason="Spark needs Java, which is not on this machine"
    ),
    # The server starts in 10 s on an idle machine with two cores.
    pytest.mark.timeout(600),
    pytest.mark.xdist_group("spark-engine"),
]


@pytest.fixture(scope="module")
def connect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A session of a server in a process of its own, with three-level names in Derby."""
    import pyspark

    folder = tmp_path_factory.mktemp("connect")
    home = Path(pyspark.__file__).parent
    settings = {
        "spark.master": "local[2]",
        "spark.ui.enabled": "false",
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": "0",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.sql.catalog.main": (
            "org.apache.spark.sql.execution.datasources.v2.jdbc.JDBCTableCatalog"
        ),
        "spark.sql.catalog.main.url": "jdbc:derby:memory:connect;create=true",
        "spark.sql.catalog.main.driver": "org.apache.derby.iapi.jdbc.AutoloadedDriver",
    }
    process = subprocess.Popen(
        [
            str(home / "bin" / "spark-submit"),
            *(part for item in settings.items() for part in ("--conf", "=".join(item))),
            *("--class", "org.apache.spark.sql.connect.service.SparkConnectServer"),
            "spark-internal",
        ],
        env={
            **os.environ,
            "SPARK_HOME": str(home),
            "PYSPARK_PYTHON": sys.executable,
            "PYTHONPATH": str(Path(__file__).parents[3]),
        },
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        # The server has chosen a free port when it logs this line.
        started = (re.search(r"server started at: .*:(\d+)$", line) for line in process.stdout)
        port = next(int(found[1]) for found in started if found)
        # Its log must be read, or it waits.
        threading.Thread(target=process.stdout.read, daemon=True).start()
        from pyspark.sql.connect.session import SparkSession

        session = SparkSession.builder.remote(f"sc://127.0.0.1:{port}").create()
        session.sql("CREATE SCHEMA main.`default`").collect()
        frame = session.createDataFrame(
            [(f"question {n}", f"The answer is {n}.") for n in range(1, 4)],
            "request string, expected_response string",
        )
        frame.writeTo("main.default.asked").create()
        yield session
        session.stop()
    finally:
        process.terminate()
        process.wait()


def _rows(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.drop(columns=["trace_id", "agent/latency_seconds"], errors="ignore")


def _metrics(result: Any) -> dict[str, float]:
    return {name: value for name, value in result.metrics.items() if "latency" not in name}


@pytest.mark.usefixtures("mlflow_store")
def test_an_evaluation_needs_neither_jvm_nor_rdds(connect) -> None:
    for name in ("_jvm", "sparkContext"):
        with pytest.raises(Exception, match="JVM_ATTRIBUTE_NOT_SUPPORTED"):
            getattr(connect, name)
    data = [{"request": f"question {n}", "topic": f"{n % 2}"} for n in range(20)]
    options: dict[str, Any] = {
        "repeat": 2,
        "evaluator_config": {"databricks-agent": {"metrics": []}},
        "scorers": [models.length, models.is_even],
    }
    local = evaluate(models.chain, data, **options)
    engine = SparkOptions(session=connect, results="answers", tasks=2, step_rows=25)
    shipped = "tests.evaluation.spark.models:chain"
    result = evaluate(shipped, data, engine=engine, **options)
    assert result.metrics["rows/failed"] == 4
    assert _metrics(result) == _metrics(local)
    found = result.tables["eval_results"].to_pandas(limit=None)
    pd.testing.assert_frame_equal(_rows(found), _rows(local.tables["eval_results"]))
    written = connect.table("answers").count()
    again = evaluate(shipped, data, engine=engine, **options)
    assert (again.metrics, connect.table("answers").count()) == (result.metrics, written)
    assert mlflow.get_run(result.run_id).data.tags["dbx_eval.resultsTable"] == "answers"


@pytest.mark.usefixtures("mlflow_store")
def test_a_table_of_the_session_is_a_dataset_and_is_read_by_the_tasks(connect) -> None:
    dataset = EvalDataset.load("main.default.asked")
    assert (dataset.backend, len(dataset)) == ("spark", 3)
    assert "without versions" in dataset.source
    expected = {record.request: record.expected_response for record in dataset}
    frame = EvalDataset.load(connect.table("main.default.asked"))
    assert {record.request: record.expected_response for record in frame} == expected
    result = evaluate(
        "tests.evaluation.spark.models:chain",
        "main.default.asked",
        evaluator_config={"databricks-agent": {"metrics": []}},
        engine="spark",
    )
    assert result.dataset_name == "main.default.asked"
    assert result.metrics["response/ground_truth/exact_match/average"] == 1
