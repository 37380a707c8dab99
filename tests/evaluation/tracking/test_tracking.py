"""The content of MLflow after an evaluation, read from a real store."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import mlflow
import pytest
from langchain_core.runnables import Runnable

from langchain_dbx_eval import EvalDataset, EvaluationResult, evaluate
from langchain_dbx_eval.reporting import write_report
from tests.evaluation.questions import NAME, RECORDS
from tests.reporting.report_file import read_rows


@pytest.fixture
def run(mlflow_store: str, chain: Runnable[str, Any]) -> tuple[Any, Any]:
    # A second version: MLflow does not write the number of the first version of a table.
    EvalDataset.create(NAME, RECORDS[:5]).merge_records(RECORDS[5:])
    result = evaluate(chain, NAME, run_name="first")
    return result, mlflow.get_run(result.run_id)


def test_the_run_has_the_metrics_and_is_an_evaluation_run(run: tuple[Any, Any]) -> None:
    result, logged = run
    assert logged.data.metrics == pytest.approx(result.metrics)
    assert logged.data.tags["mlflow.runType"] == "genai_evaluate"
    assert logged.info.run_name == "first"
    assert logged.info.status == "FINISHED"


def test_the_dataset_is_the_runs_input_at_its_version(run: tuple[Any, Any]) -> None:
    result, logged = run
    [entry] = logged.inputs.dataset_inputs
    assert entry.dataset.name == NAME
    assert entry.dataset.digest == result.dataset.digest
    assert entry.dataset.source_type == "delta_table"
    assert f'"delta_table_version": {result.dataset.version}' in entry.dataset.source


def test_the_table_is_an_artifact(run: tuple[Any, Any]) -> None:
    result, _ = run
    table = mlflow.load_table("eval_results.json", run_ids=[result.run_id])
    assert list(table["response"]) == [f"answer {n}" for n in range(6)]


def test_each_row_has_a_trace_with_its_steps_and_assessments(run: tuple[Any, Any]) -> None:
    result, _ = run
    traces = mlflow.search_traces(run_id=result.run_id, return_type="list")
    assert {t.info.trace_id for t in traces} == set(result.tables["eval_results"]["trace_id"])
    trace = next(t for t in traces if t.info.tags["mlflow.eval.requestId"] == "r2")
    root = trace.data.spans[0]
    assert (root.inputs, root.outputs) == ("question 2", "answer 2")
    [found] = [span for span in trace.data.spans if span.span_type == "RETRIEVER"]
    assert found.outputs[0]["metadata"] == {"source": "2.md"}
    assert found.parent_id is not None
    by_name = {a.name: a for a in trace.info.assessments}
    assert by_name["document_recall"].feedback.value == 0.5
    assert "never.md" in by_name["document_recall"].rationale
    assert by_name["expected_response"].expectation.value == "answer 2"
    assert by_name["token_f1"].metadata["mlflow.assessment.sourceRunId"] == result.run_id


def test_a_failed_row_has_a_failed_trace(mlflow_store: str) -> None:
    def fail(model_input: dict) -> str:
        raise ValueError("no")

    result = evaluate(fail, RECORDS[:1])
    [trace] = mlflow.search_traces(run_id=result.run_id, return_type="list")
    assert trace.info.state == "ERROR"
    assert trace.data.spans[0].attributes["error"] == "ValueError: no"
    # MLflow's UI would show the text "null" as the answer.
    assert not trace.info.response_preview


@pytest.mark.parametrize("traced", [False, True])
def test_the_exception_of_a_failed_row_is_an_event_of_its_trace(
    mlflow_store: str, tmp_path: Path, traced: bool
) -> None:
    def model(request: Any) -> str:
        with mlflow.start_span("step") if traced else nullcontext():
            raise ValueError("the index is empty")

    result = evaluate(model, RECORDS[:1])
    [trace] = mlflow.search_traces(run_id=result.run_id, return_type="list")
    [event] = [event for event in trace.data.spans[0].events if event.name == "exception"]
    assert event.attributes["exception.type"] == "ValueError"
    assert event.attributes["exception.message"] == "the index is empty"
    assert 'raise ValueError("the index is empty")' in event.attributes["exception.stacktrace"]
    loaded = EvaluationResult.load(result.run_id)
    assert event.attributes["exception.stacktrace"] == loaded.rows[0].run.root.traceback
    page = write_report(loaded, tmp_path / "report.html")
    [row] = read_rows(page)
    assert row["traceback"] == event.attributes["exception.stacktrace"]


def test_recorded_answers_have_a_trace(mlflow_store: str) -> None:
    result = evaluate(data=[{"request": "a", "response": "b", "expected_response": "b"}])
    [trace] = mlflow.search_traces(run_id=result.run_id, return_type="list")
    assert (trace.data.spans[0].inputs, trace.data.spans[0].outputs) == ("a", "b")


def test_an_active_run_is_used(mlflow_store: str, chain: Runnable[str, Any]) -> None:
    with mlflow.start_run() as outer:
        mlflow.log_param("model", "mine")
        result = evaluate(chain, RECORDS)
        assert mlflow.active_run() is not None
    assert result.run_id == outer.info.run_id


def test_a_store_that_rejects_many_spans_receives_one_trace_at_a_time(
    mlflow_store: str, chain: Runnable[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.tracing.client import TracingClient

    def reject(*args: object, **kwargs: object) -> None:
        raise NotImplementedError("as MLflow's REST store for an older server")

    monkeypatch.setattr(TracingClient, "log_spans", reject)
    result = evaluate(chain, RECORDS[:2])
    traces = mlflow.search_traces(run_id=result.run_id, return_type="list")
    assert {t.info.trace_id for t in traces} == set(result.tables["eval_results"]["trace_id"])
    assert {t.info.tags["mlflow.eval.requestId"] for t in traces} == {"r0", "r1"}
    assert {t.data.spans[0].outputs for t in traces} == {"answer 0", "answer 1"}
    assert all(t.info.assessments for t in traces)
