"""Tables by an active Spark session: a real local one, with three-level names over Derby."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from langchain_dbx_eval import EvalDataset, EvalRecord, errors
from langchain_dbx_eval.datasets.databricks.row_upload import Parameters
from langchain_dbx_eval.datasets.databricks.spark import SparkEngine
from langchain_dbx_eval.datasets.schema.mlflow_codec import from_table
from langchain_dbx_eval.datasets.schema.row_codec import COLUMNS, encode_all
from tests.datasets.record_strategies import A_TABLE_FULL

pytestmark = pytest.mark.skipif(
    shutil.which("java") is None, reason="Spark needs Java, which is not on this machine"
)
NAME = "main.default.questions"
DERBY = {
    "spark.sql.catalog.main": "org.apache.spark.sql.execution.datasources.v2.jdbc.JDBCTableCatalog",
    "spark.sql.catalog.main.url": "jdbc:derby:memory:tests;create=true",
    "spark.sql.catalog.main.driver": "org.apache.derby.iapi.jdbc.AutoloadedDriver",
}


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[1]").appName("tests")
    settings = {
        **DERBY,
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "1",
        "spark.sql.warehouse.dir": str(tmp_path_factory.mktemp("spark")),
        "spark.pyspark.python": sys.executable,
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
    }
    for name, value in settings.items():
        builder = builder.config(name, value)
    with pytest.MonkeyPatch.context() as patch:
        # Derby writes its log where Java began.
        patch.chdir(tmp_path_factory.mktemp("derby"))
        session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    session.sql("CREATE SCHEMA main.`default`")
    frame = session.createDataFrame(
        [("1", "one?", "1"), ("2", "two?", None)],
        "request_id string, request string, expected_response string",
    )
    frame.writeTo("main.default.questions").create()
    yield session
    session.stop()


def test_a_table_of_the_active_session_is_read(spark) -> None:
    dataset = EvalDataset.load(NAME)
    assert {(r.request_id, r.request, r.expected_response) for r in dataset} == {
        ("1", "one?", "1"),
        ("2", "two?", None),
    }
    assert (dataset.backend, dataset.version) == ("spark", None)
    assert "without versions" in dataset.source
    assert set(dataset.schema) == {"request_id", "request", "expected_response"}


def test_what_the_session_has_not_is_looked_up_elsewhere(spark, three) -> None:
    EvalDataset.create("other.default.local", three)
    assert EvalDataset.load("other.default.local").backend == "local"
    with pytest.raises(errors.NotFoundError, match="sees no table"):
        EvalDataset.load("other.default.local", backend="spark")


def test_a_table_that_exists_is_told(spark) -> None:
    with pytest.raises(errors.AlreadyExistsError):
        EvalDataset.create(NAME, backend="spark")


def test_a_table_that_cannot_be_merged_into_is_told(spark) -> None:
    with pytest.raises(errors.SchemaError, match="another shape"):
        EvalDataset.load(NAME).merge_records([{"request": "a"}])


def test_a_spark_frame_is_read(spark) -> None:
    frame = spark.sql("SELECT 'a' AS request, array('x', 'y') AS expected_facts, map('k', 1) AS m")
    [record] = EvalDataset.load(frame)
    assert (record.expected_facts, record.metadata) == (["x", "y"], {"m": {"k": 1}})


def test_reading_runs_no_statement_that_writes(spark, monkeypatch) -> None:
    sent: list[str] = []
    run = type(spark).sql
    monkeypatch.setattr(
        type(spark), "sql", lambda self, sql, **rest: sent.append(sql) or run(self, sql, **rest)
    )
    dataset = EvalDataset.load(NAME)
    assert (len(dataset), len(dataset.digest)) == (2, 16)
    assert {sql.split()[0] for sql in sent} <= {"SELECT", "DESCRIBE"}


def test_sparks_own_parser_reads_the_rows_of_a_merge_as_they_were_written(spark) -> None:
    moment = datetime(2026, 11, 21, 5, 0, 0, 123456, tzinfo=timezone.utc)
    row = {name: None if kind == "STRING" else moment for name, kind in COLUMNS.items()}
    row |= {"dataset_record_id": "k", "inputs": '{"a": "한\\"\'`"}'}
    spark.conf.set("spark.sql.session.timeZone", "UTC")
    with Parameters().carry([row], COLUMNS) as carried:
        [read] = spark.sql(carried.sql, args=dict(carried.parameters)).collect()
    assert read["inputs"] == row["inputs"]
    assert read["create_time"].astimezone(timezone.utc) == moment
    assert read["outputs"] is None


@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
@given(given_records=A_TABLE_FULL)
def test_spark_keeps_records_as_they_are(spark, given_records) -> None:
    """As a MERGE sends them and as a table's rows are read; a Delta table is not to be had here."""
    spark.conf.set("spark.sql.session.timeZone", "UTC")
    rows = list(encode_all(given_records).values())
    with Parameters().carry(rows, COLUMNS) as carried:
        read = list(SparkEngine().query(carried.sql, **carried.parameters))
    assert [EvalRecord.from_row(from_table(row)) for row in read] == given_records
    frame = spark.createDataFrame([[row["inputs"]] for row in rows], "inputs string")
    requests = [record.request for record in EvalDataset.load(frame)]
    assert requests == [EvalRecord.from_row({"inputs": r.inputs}).request for r in given_records]


def test_spark_is_never_imported_to_ask_for_a_session(three) -> None:
    program = (
        "import sys; from langchain_dbx_eval import EvalDataset\n"
        f"EvalDataset.create({NAME!r}, [{{'request': 'a'}}]); EvalDataset.load({NAME!r})\n"
        "print('pyspark' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_without_a_session_it_is_told(monkeypatch) -> None:
    monkeypatch.setattr("langchain_dbx_eval.datasets.databricks.spark.active_session", lambda: None)
    with pytest.raises(errors.ConfigurationError, match="Databricks Connect"):
        EvalDataset.load(NAME, backend="spark")
