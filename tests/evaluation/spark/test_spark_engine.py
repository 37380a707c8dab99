"""``evaluate(…, engine="spark")`` on Sail, compared with the local engine."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest

from langchain_dbx_eval import EvalDataset, errors, evaluate
from langchain_dbx_eval.evaluation import EvaluationOptions, SparkOptions
from langchain_dbx_eval.reporting import compare
from langchain_dbx_eval.reporting.report import write_report
from tests.evaluation.spark import models

# 1,000 for the figures of issue 16: 2,000 rows take minutes in MLflow's store on a busy machine.
_ROWS = int(os.environ.get("DBX_EVAL_SPARK_RECORDS", "150"))

pytestmark = [
    pytest.mark.timeout(300 if _ROWS < 500 else 3000),
    pytest.mark.xdist_group("spark-engine"),
    pytest.mark.usefixtures("sail", "mlflow_store"),
]

_MODULE = "tests.evaluation.spark.models"
_NO_JUDGES: dict[str, Any] = {"databricks-agent": {"metrics": []}}
_JUDGES = {"databricks-agent": {"metrics": ["correctness", "relevance_to_query"]}}


def _records(count: int) -> list[dict[str, Any]]:
    expected = [
        {"expected_response": f"The answer is {n % 9}."} if n % 4 else {} for n in range(count)
    ]
    return [{"request": f"question {n}", "topic": f"{n % 5}", **e} for n, e in enumerate(expected)]


def _without_latency(values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if "latency" not in name}


def _table(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.drop(columns=["trace_id", "agent/latency_seconds"], errors="ignore")


def test_metrics_and_rows_equal_those_of_the_local_engine(tmp_path: Path) -> None:
    data = [
        *_records(_ROWS - 2),
        {"request": "question 1", "topic": "1"},
        {"request": 5, "topic": None},
    ]
    options: dict[str, Any] = {
        "repeat": 2,
        "scorers": [models.length, models.is_even],
        "evaluator_config": _JUDGES,
        "max_concurrency": 32,
    }
    local = evaluate(models.chain, data, judge=models.judge, **options)
    engine = SparkOptions(step_rows=_ROWS, trace_sample=5, max_failures=3)
    result = evaluate(f"{_MODULE}:chain", data, judge=f"{_MODULE}:judge", engine=engine, **options)
    assert local.summary.rows.total == 2 * _ROWS
    assert local.summary.rows.failed > _ROWS // 10
    assert local.summary.errors
    assert _without_latency(result.metrics) == _without_latency(local.metrics)
    assert _without_latency(result.summary.details) == _without_latency(local.summary.details)
    for name in ("rows", "failures", "skipped", "errors", "judged", "percentages"):
        assert getattr(result.summary, name) == getattr(local.summary, name), name
    table = result.tables["eval_results"]
    pd.testing.assert_frame_equal(
        _table(table.to_pandas(limit=None)), _table(local.tables["eval_results"])
    )
    by_topic = {"cluster": "topic", "failures": "zero"}
    assert _without_latency(result.summarize(**by_topic).details) == _without_latency(
        local.summarize(**by_topic).details
    )
    # The driver has the sample and some failures, MLflow their traces, the report the same rows.
    assert len(result.sample.rows) == 8
    assert len(table.head(3)) == 3
    assert len(result.rows) == table.to_spark().count() == 2 * _ROWS
    assert [row.record.request for row in result.rows[1:4]] == [f"question {n}" for n in (0, 1, 1)]
    run = mlflow.get_run(result.run_id)
    assert run.data.tags["dbx_eval.resultsTable"] == result.results_table
    assert run.data.metrics["rows/failed"] == local.metrics["rows/failed"]
    assert run.inputs.dataset_inputs[0].dataset.digest
    assert len(mlflow.search_traces(locations=[run.info.experiment_id], run_id=result.run_id)) == 8
    assert "question" in write_report(result, tmp_path / "report.html").read_text()


def test_comparisons_and_checks_equal_those_of_the_local_engine() -> None:
    data = [*_records(38), {"request": "question 1", "topic": "1"}, {"request": "question 2"}]
    options: dict[str, Any] = {
        "repeat": 2,
        "scorers": [models.length, models.is_even],
        "evaluator_config": _NO_JUDGES,
    }
    local = [evaluate(model, data, **options) for model in (models.chain, models.other)]
    names = (f"{_MODULE}:chain", f"{_MODULE}:other")
    spark: list[Any] = [evaluate(name, data, engine="spark", **options) for name in names]
    arguments: dict[str, Any] = {"by": "topic", "cluster": models.topic_of, "margin": 0.1}
    expected = compare(local[1], local[0], **arguments)
    assert expected.flips
    assert expected.duplicates
    conditions = ("is_even >= 0.1 @ lower", "length/p90 < 100", "rows/failed <= 10%", "length > 99")
    to_baseline = ("is_even >= baseline - 0.02 @ lower", *conditions)
    for result in spark:
        # The rows do not come to the driver.
        result.rows = range(len(result.rows))
    for result, baseline in [(spark[1], spark[0]), (spark[1], local[0]), (local[1], spark[0])]:
        found = compare(result, baseline, **arguments)
        assert _comparable(found) == _comparable(expected)
        checked = found.check(*to_baseline).to_dict()
        assert checked["conditions"] == expected.check(*to_baseline).to_dict()["conditions"]
        assert checked["records"] == expected.check(*to_baseline).to_dict()["records"]
    by_topic = {"cluster": "topic", "failures": "zero"}
    reports = [result.check(*conditions, **by_topic) for result in (spark[1], local[1])]
    assert reports[0].conditions == reports[1].conditions
    assert reports[0].records == reports[1].records
    # Errors of the task, and what cannot be sent there.
    with pytest.raises(errors.ConfigurationError, match="No record has the column 'color'"):
        compare(spark[1], spark[0], by="color")
    with pytest.raises(errors.ConfigurationError, match=r"cluster= cannot be sent to the tasks"):
        spark[1].summarize(cluster=lambda record: record.request)


def _comparable(comparison: Any) -> Any:
    """A comparison without latencies, which also count in the p-values of operational metrics."""

    def kept(metrics: Any) -> Any:
        found = [metric for metric in metrics if "latency" not in metric.name]
        return tuple(replace(m, p_adjusted=None) if "rows/" in m.name else m for m in found)

    slices = tuple(replace(one, metrics=kept(one.metrics)) for one in comparison.slices)
    return replace(comparison, metrics=kept(comparison.metrics), slices=slices, latency=())


def test_a_second_run_does_only_what_is_missing(sail, endpoint, tmp_path: Path) -> None:
    data = [{"request": f"{endpoint.url} {n}"} for n in range(40)]
    engine = SparkOptions(results=str(tmp_path / "results"), step_rows=15)
    options: dict[str, Any] = {"evaluator_config": _NO_JUDGES, "engine": engine}
    first = evaluate(f"{_MODULE}:remote", data[:], scorers=[models.length], **options)
    assert first.metrics["rows/answered"] == 40
    assert set(endpoint.counts.values()) == {1}
    # The same call, then another scorer: no request is sent.
    again = evaluate(f"{_MODULE}:remote", data, scorers=[models.length], **options)
    assert again.run_id == first.run_id
    assert again.metrics == first.metrics
    both = [models.length, models.is_even]
    scored = evaluate(f"{_MODULE}:remote", data, scorers=both, **options)
    assert sum(endpoint.counts.values()) == 40
    column = "response/llm_judged/is_even/rating/percentage"
    assert scored.metrics[column] == 0.5
    assert scored.metrics["metric/length/average"] == first.metrics["metric/length/average"]
    # Another dataset, or another model, in the same table.
    with pytest.raises(errors.ConfigurationError, match="differs: dataset"):
        evaluate(f"{_MODULE}:remote", data[:30], scorers=both, **options)
    with pytest.raises(errors.ConfigurationError, match="differs: model"):
        evaluate(f"{_MODULE}:no_op_chain", data, scorers=both, **options)
    changed = evaluate(
        f"{_MODULE}:remote",
        data[:30],
        scorers=both,
        options=EvaluationOptions(allow_changes=True),
        **options,
    )
    assert len(changed.rows) == changed.metrics["rows/total"] == 30
    assert sum(endpoint.counts.values()) == 40


def test_failed_rows_run_again_on_request(sail, tmp_path: Path) -> None:
    data = [{"request": f"question {n}"} for n in (1, 17, 2)]
    engine = SparkOptions(results=str(tmp_path / "results"))
    options: dict[str, Any] = {"evaluator_config": _NO_JUDGES, "engine": engine}
    first = evaluate(f"{_MODULE}:chain", data, **options)
    [failed] = first.failures
    again = evaluate(
        f"{_MODULE}:chain", data, resume=engine.results, retry_failures=True, **options
    )
    assert (again.metrics["rows/failed"], again.metrics["rows/total"]) == (1, 3)
    assert again.failures[0].outcome.error == failed.outcome.error
    table = sail_rows(again)
    assert table[failed.record.request_id] > max(
        v for k, v in table.items() if k != failed.record.request_id
    )


def sail_rows(result: Any) -> dict[str, int]:
    """The version of each row."""
    return {row["request_id"]: row["version"] for row in result._frame.frame.collect()}


def test_a_frame_and_tables_of_the_session_are_read_by_the_tasks(sail, tmp_path: Path) -> None:
    frame = sail.createDataFrame(
        [("question 1", ["a"], None), ("question 2", None, None), (None, None, None)],
        "request string, expected_facts array<string>, expected_response string",
    )
    result = evaluate(f"{_MODULE}:chain", frame, evaluator_config=_NO_JUDGES, engine="spark")
    rows = {str(row.record.request): row for row in result.rows}
    assert rows["question 1"].record.expected_facts == ["a"]
    [invalid] = result.failures
    assert (invalid.outcome.error or "").startswith("SchemaError: column 'request': expected")
    frame.where("request IS NOT NULL").write.mode("overwrite").saveAsTable("default.questions")
    by_name = evaluate(
        f"{_MODULE}:chain",
        "default.questions",
        evaluator_config=_NO_JUDGES,
        engine=SparkOptions(results="default.answers", tasks=2),
    )
    assert by_name.metrics["rows/total"] == 2
    assert sail.table("default.answers").count() == 2


def test_a_dataset_of_the_local_catalog_keeps_its_order() -> None:
    EvalDataset.create("main.default.questions", _records(5))
    result = evaluate(
        models.answer, "main.default.questions", evaluator_config=_NO_JUDGES, engine="spark"
    )
    assert result.dataset_name == "main.default.questions"
    assert [row.number for row in result.rows] == [0, 1, 2, 3, 4]


def test_recorded_answers_are_scored_without_a_model() -> None:
    data = [{"request": "a", "response": "b", "expected_response": "b"}]
    result = evaluate(data=data, evaluator_config=_NO_JUDGES, engine="spark")
    assert result.metrics["response/ground_truth/exact_match/average"] == 1


def test_a_task_that_fails_names_its_error_and_how_to_continue(tmp_path: Path) -> None:
    file = tmp_path / "fails_elsewhere.py"
    file.write_text(
        "import os, mlflow\nfrom langchain_core.runnables import RunnableLambda\n"
        f"if os.environ.get('DBX_EVAL_HOME') != {str(tmp_path / 'dbx-eval')!r}:\n"
        "    raise ValueError('no driver here')\n"
        "mlflow.models.set_model(RunnableLambda(str))\n"
    )
    with pytest.raises(errors.DatabricksError, match=r"no driver here.*what is missing"):
        evaluate(file, [{"request": "a"}], evaluator_config=_NO_JUDGES, engine="spark")


def test_resuming_what_does_not_exist_raises(tmp_path: Path) -> None:
    for resume in ("last", str(tmp_path / "none")):
        with pytest.raises(errors.NotFoundError):
            evaluate(
                f"{_MODULE}:chain",
                [{"request": "a"}],
                resume=resume,
                evaluator_config=_NO_JUDGES,
                engine="spark",
            )
