"""Tables of a local Spark session, whose three-level names are stored in Derby."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given, settings

from langchain_dbx_eval import EvalDataset, EvalRecord, errors
from langchain_dbx_eval.datasets.databricks.row_upload import ParameterUploader
from langchain_dbx_eval.datasets.databricks.spark import SparkEngine
from langchain_dbx_eval.datasets.schema.mlflow_codec import from_table
from langchain_dbx_eval.datasets.schema.row_codec import COLUMNS, encode_all, merge_by_key
from langchain_dbx_eval.datasets.schema.table_name import TableName
from langchain_dbx_eval.reporting import history
from langchain_dbx_eval.reporting.dashboard import MetricPoint, RunMetrics
from langchain_dbx_eval.reporting.dashboard.forms import encode_run
from langchain_dbx_eval.reporting.dashboard.lakeview import dashboard_queries
from langchain_dbx_eval.reporting.dashboard.tables import merge_sql
from tests.datasets.record_strategies import FULL_TABLE

pytestmark = [
    pytest.mark.skipif(
        shutil.which("java") is None, reason="Spark needs Java, which is not on this machine"
    ),
    # The session starts in 40 s on an idle machine with two cores.
    pytest.mark.timeout(600),
    pytest.mark.xdist_group("spark"),
]
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
        # Derby writes its log to the working directory of Java.
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


def test_a_table_that_the_session_lacks_is_read_from_the_local_catalog(spark, three) -> None:
    EvalDataset.create("other.default.local", three)
    assert EvalDataset.load("other.default.local").backend == "local"
    with pytest.raises(errors.NotFoundError, match="has no table"):
        EvalDataset.load("other.default.local", backend="spark")


def test_creating_an_existing_table_raises(spark) -> None:
    with pytest.raises(errors.AlreadyExistsError):
        EvalDataset.create(NAME, backend="spark")


def test_merging_into_a_table_with_another_schema_raises(spark) -> None:
    with pytest.raises(errors.SchemaError, match="another schema"):
        EvalDataset.load(NAME).merge_records([{"request": "a"}])


def test_a_spark_frame_is_read(spark) -> None:
    frame = spark.sql("SELECT 'a' AS request, array('x', 'y') AS expected_facts, map('k', 1) AS m")
    [record] = EvalDataset.load(frame)
    assert (record.expected_facts, record.metadata) == (["x", "y"], {"m": {"k": 1}})
    assert list(EvalDataset.create("other.default.merged", frame)) == [record]


def test_reading_executes_no_statement_that_writes(spark, monkeypatch) -> None:
    sent: list[str] = []
    run = type(spark).sql
    monkeypatch.setattr(
        type(spark), "sql", lambda self, sql, **rest: sent.append(sql) or run(self, sql, **rest)
    )
    dataset = EvalDataset.load(NAME)
    assert (len(dataset), len(dataset.digest)) == (2, 16)
    assert {sql.split()[0] for sql in sent} <= {"SELECT", "DESCRIBE"}


def test_spark_parses_the_uploaded_rows_of_a_merge_unchanged(spark) -> None:
    moment = datetime(2026, 11, 21, 5, 0, 0, 123456, tzinfo=timezone.utc)
    row = {name: None if kind == "STRING" else moment for name, kind in COLUMNS.items()}
    row |= {"dataset_record_id": "k", "inputs": '{"a": "한\\"\'`"}'}
    spark.conf.set("spark.sql.session.timeZone", "UTC")
    with ParameterUploader().upload([row], COLUMNS) as uploaded:
        [read] = spark.sql(uploaded.sql, args=dict(uploaded.parameters)).collect()
    assert read["inputs"] == row["inputs"]
    assert read["create_time"].astimezone(timezone.utc) == moment
    assert read["outputs"] is None


def test_spark_reads_metrics_and_parses_the_statements_that_write_them(spark) -> None:
    """This session has no Delta, so it cannot execute a MERGE."""
    name = TableName.parse("main.default.runs")
    run = RunMetrics(
        run_name="it's; --",
        timestamp=datetime(2026, 11, 21, 5, 0, 0, 123456, tzinfo=timezone.utc),
        run_id="1",
        metrics={
            "response/llm_judged/safety/rating/percentage": MetricPoint(
                "score", 0.75, 0.5, 1.0, 3, 4
            ),
            "rows/failed": MetricPoint("count", 1.0, total=4),
        },
    )
    spark.conf.set("spark.sql.session.timeZone", "Asia/Seoul")
    parser = spark._jsparkSession.sessionState().sqlParser()
    for form in ("long", "wide"):
        encoded = encode_run(run, form, None)
        columns = ", ".join(f"`{column}` {type_}" for column, type_ in encoded.columns.items())
        parser.parsePlan(f"CREATE TABLE IF NOT EXISTS {name.sql} ({columns}) COMMENT 'x'")
        parser.parsePlan(f"ALTER TABLE {name.sql} ADD COLUMNS ({columns})")
        for key in ({"run_id": "1"}, {"run_name": "it's; --"}):
            parser.parsePlan(merge_sql(name, encoded, key, "SELECT inline(from_json(:rows, 'x'))"))
    long = encode_run(run, "long", None)
    frame = spark.createDataFrame(
        [[row.get(column) for column in long.columns] for row in long.rows],
        ", ".join(f"{column} {type_}" for column, type_ in long.columns.items()),
    )
    frame.writeTo("main.default.runs").create()
    assert list(history("main.default.runs", backend="spark")) == [run]
    frame.createTempView("runs")
    sizes = {
        dataset: spark.sql(sql.replace(name.sql, "runs")).count()
        for dataset, sql in dashboard_queries(name).items()
    }
    assert sizes == {"scores": 1, "latest": 1, "failures": 1, "operations": 0}


@settings(max_examples=2)
@given(given_records=FULL_TABLE)
def test_spark_restores_records_unchanged(spark, given_records) -> None:
    """Upload records as for a MERGE and read them as a table's; this session has no Delta."""
    spark.conf.set("spark.sql.session.timeZone", "UTC")
    rows = list(merge_by_key(encode_all(given_records)).values())
    with ParameterUploader().upload(rows, COLUMNS) as uploaded:
        read = list(SparkEngine().query(uploaded.sql, **uploaded.parameters))
    assert [EvalRecord.from_row(from_table(row)) for row in read] == given_records
    frame = spark.createDataFrame([[row["inputs"]] for row in rows], "inputs string")
    requests = [record.request for record in EvalDataset.load(frame)]
    assert requests == [EvalRecord.from_row({"inputs": r.inputs}).request for r in given_records]


def test_the_check_for_a_session_does_not_import_spark(three) -> None:
    program = (
        "import sys; from langchain_dbx_eval import EvalDataset\n"
        f"EvalDataset.create({NAME!r}, [{{'request': 'a'}}]); EvalDataset.load({NAME!r})\n"
        "print('pyspark' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_the_spark_backend_without_a_session_raises(monkeypatch) -> None:
    monkeypatch.setattr("langchain_dbx_eval.datasets.databricks.spark.active_session", lambda: None)
    with pytest.raises(errors.ConfigurationError, match="Databricks Connect"):
        EvalDataset.load(NAME, backend="spark")
