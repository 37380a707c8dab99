"""The content of an MLflow store after rows were written once, twice, or by two processes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from langchain_core.runnables import RunnableLambda
from mlflow.entities import Trace
from mlflow.exceptions import MlflowException
from mlflow.tracing.client import TracingClient

from langchain_dbx_eval import EvalDataset
from langchain_dbx_eval.errors import TrackingError
from langchain_dbx_eval.evaluation.journal.manifest import Destination
from langchain_dbx_eval.evaluation.tracking import sql_store
from langchain_dbx_eval.evaluation.tracking.runs import TABLE_FILE, MlflowRun
from langchain_dbx_eval.evaluation.tracking.store_access import redact_uri, tracking_error
from langchain_dbx_eval.evaluation.tracking.traces import trace_id_of
from tests.evaluation.tracking.evaluated_rows import EVALUATION, evaluated
from tests.evaluation.tracking.mlflow_server import MlflowServer

# A tracking server takes a minute to start on a busy machine.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def server(_migrated_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    database = tmp_path_factory.mktemp("server") / "mlflow.db"
    shutil.copy(_migrated_store, database)
    running = MlflowServer(database)
    running.start()
    yield running.uri
    running.kill()


def experiment_of(uri: str) -> str:
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("tests")
    return str(experiment.experiment_id if experiment else client.create_experiment("tests"))


def open_run(uri: str, evaluation_id: str = EVALUATION) -> MlflowRun:
    destination = Destination(tracking_uri=uri, experiment_id=experiment_of(uri), run_name="mine")
    return MlflowRun.open(destination, evaluation_id)


def create_run(uri: str) -> str:
    return str(mlflow.MlflowClient(uri).create_run(experiment_of(uri)).info.run_id)


def attach(uri: str, run_id: str) -> MlflowRun:
    return MlflowRun.open(Destination(tracking_uri=uri, run_id=run_id), EVALUATION)


def traces_of(run: MlflowRun) -> list[Trace]:
    found = mlflow.MlflowClient(run.tracking_uri).search_traces(
        locations=[run.experiment_id], run_id=run.run_id, max_results=500
    )
    return sorted(found, key=lambda trace: trace.info.trace_id)


def content(trace: Trace) -> dict[str, Any]:
    """The content of a trace, without the times at which it was written."""
    tags = {k: v for k, v in trace.info.tags.items() if "Location" not in k}
    spans = [(s.name, s.parent_id, s.inputs, s.outputs, s.status) for s in trace.data.spans]
    assessments = []
    for assessment in trace.info.assessments:
        fields = assessment.to_dictionary()
        for name in ("create_time", "last_update_time"):
            del fields[name]
        # MLflow's REST client does not read it for expectations (3.17.2).
        fields.pop("valid", None)
        assessments.append(fields)
    return {
        "id": trace.info.trace_id,
        "state": trace.info.state,
        "usage": trace.info.token_usage,
        "tags": tags,
        "spans": spans,
        "assessments": sorted(assessments, key=lambda fields: fields["assessment_id"]),
    }


def test_rows_that_are_written_twice_exist_once(mlflow_store: str) -> None:
    rows = [evaluated(0), evaluated(1, error="ValueError: no"), evaluated(2, run=False)]
    run = open_run(mlflow_store)
    ids = run.write_rows(rows)
    once = [content(trace) for trace in traces_of(run)]
    assert run.write_rows(rows, maybe_written=True) == ids
    assert [content(trace) for trace in traces_of(run)] == once
    assert sorted(ids) == [trace["id"] for trace in once]
    assert [len(trace["assessments"]) for trace in once] == [8, 8, 8]


def test_a_correction_by_a_user_is_not_overwritten(mlflow_store: str) -> None:
    run = open_run(mlflow_store)
    [trace_id] = run.write_rows([evaluated(0)])
    exact = next(a for a in traces_of(run)[0].info.assessments if a.name == "exact")
    mlflow.update_assessment(
        trace_id=trace_id,
        assessment_id=exact.assessment_id,
        assessment=mlflow.entities.Feedback(name="exact", value=False),
    )
    run.write_rows([evaluated(0)], maybe_written=True)
    values = {a.name: a for a in traces_of(run)[0].info.assessments}
    assert values["exact"].feedback.value is False


def reject_spans(self: TracingClient, *args: Any) -> None:
    raise NotImplementedError


@pytest.mark.parametrize("method", ["threads", "server"])
def test_every_method_of_writing_stores_the_same_content(
    method: str, mlflow_store: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [evaluated(n) for n in range(4)] + [evaluated(0, repetition=2, run=False)]
    fast = attach(mlflow_store, create_run(mlflow_store))
    fast.write_rows(rows)
    expected = [content(trace) for trace in traces_of(fast)]
    if method == "threads":
        monkeypatch.setattr(sql_store, "insert", lambda store, assessments: False)
    uri = request.getfixturevalue("server") if method == "server" else mlflow_store
    slow = attach(uri, create_run(uri))
    slow.write_rows(rows)
    once = [content(trace) for trace in traces_of(slow)]
    slow.write_rows(rows, maybe_written=True)
    assert [content(trace) for trace in traces_of(slow)] == once
    assert [of_run(trace, slow) for trace in once] == [of_run(trace, fast) for trace in expected]


def of_run(trace: dict[str, Any], run: MlflowRun) -> dict[str, Any]:
    """A trace without the ids that depend on the run, and without assessments of other runs."""
    assessments = [dict(fields) for fields in trace["assessments"] if run.run_id in str(fields)]
    for fields in assessments:
        fields["metadata"] = {k: v for k, v in fields["metadata"].items() if "sourceRun" not in k}
        del fields["assessment_id"]
    return {**trace, "assessments": sorted(assessments, key=str)}


def test_a_store_of_another_mlflow_version_is_written_to_by_the_public_api(
    mlflow_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    real = TracingClient.log_assessment

    def count(self: TracingClient, *args: Any) -> Any:
        calls.append(args)
        return real(self, *args)

    monkeypatch.setattr(TracingClient, "log_assessment", count)
    run = open_run(mlflow_store)
    run.write_rows([evaluated(0)])
    assert not calls
    monkeypatch.setattr(sql_store, "_traces", renamed)
    run.write_rows([evaluated(1)])
    assert len(calls) == 8
    assert [len(trace.info.assessments) for trace in traces_of(run)] == [8, 8]


@pytest.mark.parametrize("server_assigns_ids", [False, True])
def test_only_missing_assessments_are_written_by_the_public_api(
    server_assigns_ids: bool, mlflow_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_store, "insert", lambda store, assessments: False)
    real = TracingClient.log_assessment
    run, client = open_run(mlflow_store), TracingClient(mlflow_store)

    def without_our_id(self: TracingClient, trace_id: str, assessment: Any) -> Any:
        assessment.assessment_id = None
        return real(self, trace_id, assessment)

    if server_assigns_ids:
        monkeypatch.setattr(TracingClient, "log_assessment", without_our_id)
    [trace_id] = run.write_rows([evaluated(0)])
    stored = client.get_trace_info(trace_id).assessments
    lost = next(a for a in stored if a.name == "judged")
    client.delete_assessment(trace_id, lost.assessment_id)
    run.write_rows([evaluated(0)], maybe_written=True)
    names = [a.name for a in client.get_trace_info(trace_id).assessments]
    assert sorted(names) == sorted(a.name for a in stored)


def renamed(store: Any, *args: Any) -> Any:
    return store._a_method_of_a_later_mlflow(*args)


def test_a_store_that_rejects_spans_receives_each_trace_under_the_same_id(
    mlflow_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [evaluated(0), evaluated(1, error="ValueError: no")]
    run = open_run(mlflow_store, "1" * 32)
    run.write_rows(rows)
    expected = [content(trace) for trace in traces_of(run)]
    for trace in traces_of(run):
        mlflow.MlflowClient(mlflow_store).delete_traces(
            run.experiment_id, trace_ids=[trace.info.trace_id]
        )
    monkeypatch.setattr(TracingClient, "log_spans", reject_spans)
    run.write_rows(rows)
    run.write_rows(rows, maybe_written=True)
    assert [content(trace) for trace in traces_of(run)] == expected


def test_a_run_is_found_by_its_evaluation_id(mlflow_store: str) -> None:
    first = open_run(mlflow_store)
    first.finish({"a": 1.0}, [pd.DataFrame({"x": [1]})], status="KILLED")
    again = open_run(mlflow_store)
    assert again.run_id == first.run_id
    assert mlflow.get_run(first.run_id).info.status == "RUNNING"
    assert open_run(mlflow_store, "other").run_id != first.run_id
    tags = mlflow.get_run(first.run_id).data.tags
    assert tags["mlflow.runType"] == "genai_evaluate"
    assert {"mlflow.user", "mlflow.source.name"} <= tags.keys()


def test_a_second_end_replaces_the_first(mlflow_store: str) -> None:
    run = open_run(mlflow_store)
    run.finish({"a": 1.0, "b": 2.0}, [pd.DataFrame({"x": [1, 2]})], status="FAILED")
    second = pd.DataFrame({"x": [3], "y": [{"z": "ä"}]})
    run.finish({"a": 1.0, "b": 3.0}, [second], status="FINISHED")
    logged = mlflow.get_run(run.run_id)
    assert logged.info.status == "FINISHED"
    assert logged.data.metrics == {"a": 1.0, "b": 3.0}
    assert len(mlflow.MlflowClient().get_metric_history(run.run_id, "a")) == 1
    table = mlflow.load_table(TABLE_FILE, run_ids=[run.run_id])
    assert table.to_dict("records") == [{"x": 3, "y": {"z": "ä"}}]
    assert json.loads(logged.data.tags["mlflow.loggedArtifacts"]) == [
        {"path": TABLE_FILE, "type": "table"}
    ]


def test_a_run_of_the_user_stays_active(mlflow_store: str) -> None:
    with mlflow.start_run() as active:
        run = attach(mlflow_store, active.info.run_id)
        run.finish({"a": 1.0}, [pd.DataFrame({"x": [1]})], status="FINISHED")
        assert not run.is_ours
        assert mlflow.get_run(active.info.run_id).info.status == "RUNNING"
    assert mlflow.get_run(active.info.run_id).data.tags["mlflow.runType"] == "genai_evaluate"


def test_a_dataset_that_is_logged_twice_is_one_input(mlflow_store: str) -> None:
    dataset = EvalDataset.load([{"request": "a"}]).mlflow_input()
    run = open_run(mlflow_store)
    run.log_dataset(dataset)
    run.log_dataset(dataset)
    [entry] = mlflow.get_run(run.run_id).inputs.dataset_inputs
    assert entry.dataset.digest == dataset.digest
    assert {tag.key: tag.value for tag in entry.tags} == {"mlflow.data.context": "evaluation"}


def test_a_repetition_of_a_record_has_its_own_request_id(mlflow_store: str) -> None:
    run = open_run(mlflow_store)
    run.write_rows([evaluated(0, run=False), evaluated(0, run=False, repetition=2)])
    tags = {trace.info.tags["mlflow.eval.requestId"] for trace in traces_of(run)}
    assert tags == {"r0", "r0#2"}


@pytest.fixture
def autologged(mlflow_store: str) -> Iterator[Callable[[str], str]]:
    """A function that invokes a chain under autologging and returns the trace id."""
    mlflow.langchain.autolog()

    def invoke(question: str) -> str:
        RunnableLambda(lambda text: text.upper()).invoke(question)
        trace_id = mlflow.get_last_active_trace_id()
        assert trace_id is not None
        return trace_id

    yield invoke
    mlflow.langchain.autolog(disable=True)
    mlflow.flush_trace_async_logging()


def test_an_autologged_row_keeps_its_trace(
    mlflow_store: str, autologged: Callable[[str], str]
) -> None:
    trace_id = autologged("hello")
    run = open_run(mlflow_store)
    assert run.write_rows([evaluated(0, autolog_id=trace_id)]) == [trace_id]
    [trace] = traces_of(run)
    assert trace.data.spans[0].outputs == "HELLO"
    assert trace.info.tags["mlflow.eval.requestId"] == "r0"
    assert len(trace.info.assessments) == 8


def test_a_row_whose_autologged_trace_is_missing_gets_its_own(
    mlflow_store: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("langchain_dbx_eval.evaluation.tracking.traces._AUTOLOG_TIMEOUT_S", 0.1)
    run = open_run(mlflow_store)
    row = evaluated(0, autolog_id="tr-" + "0" * 31 + "1")
    assert run.write_rows([row]) == [trace_id_of(row, EVALUATION)]
    assert "1 of 1 traces that MLflow started are not in the store" in caplog.text
    assert len(traces_of(run)[0].info.assessments) == 8


def test_a_write_to_a_locked_database_is_retried(
    mlflow_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failures = TracingClient.log_spans, iter([1, 1])

    def busy(self: TracingClient, *args: Any) -> Any:
        if next(failures, None):
            raise MlflowException("(sqlite3.OperationalError) database is locked", 1001)
        return real(self, *args)

    monkeypatch.setattr(TracingClient, "log_spans", busy)
    run = open_run(mlflow_store)
    run.write_rows([evaluated(0)])
    assert next(failures, "none left") == "none left"
    assert len(traces_of(run)) == 1


def test_a_server_that_is_down_is_a_transient_error(tmp_path: Path) -> None:
    # Nothing listens here: the server was never started.
    uri = MlflowServer(tmp_path / "none.db").uri
    with pytest.raises(TrackingError, match=uri) as raised:
        attach(uri, "0" * 32)
    assert raised.value.retryable


def test_a_run_that_does_not_exist_is_an_error(mlflow_store: str) -> None:
    with pytest.raises(TrackingError, match="0000 not found"):
        attach(mlflow_store, "0" * 32)


def test_a_password_in_the_tracking_uri_is_redacted() -> None:
    uri = "postgresql://me:s3cret@db.example/mlflow"
    assert redact_uri(uri) == "postgresql://***@db.example/mlflow"
    error = tracking_error(uri, ValueError(f"cannot connect to {uri} with s3cret"))
    assert "s3cret" not in str(error)
    assert "db.example" in str(error)


ROOT = Path(__file__).parents[3]

WRITER = """
import sys
sys.path.insert(0, {root!r})
from tests.evaluation.tracking.evaluated_rows import EVALUATION, evaluated
from langchain_dbx_eval.evaluation.journal.manifest import Destination
from langchain_dbx_eval.evaluation.tracking.runs import MlflowRun

run = MlflowRun.open(Destination(tracking_uri={uri!r}, run_id={run_id!r}), EVALUATION)
for start in range({first}, {first} + 60, 10):
    run.write_rows([evaluated(n) for n in range(start, start + 10)])
"""


def test_two_processes_write_to_one_database(mlflow_store: str) -> None:
    run = open_run(mlflow_store)
    programs = [
        WRITER.format(root=str(ROOT), uri=mlflow_store, run_id=run.run_id, first=first)
        for first in (0, 1000)
    ]
    writers = [subprocess.Popen([sys.executable, "-c", program]) for program in programs]
    assert [writer.wait(timeout=500) for writer in writers] == [0, 0]
    found = traces_of(run)
    assert len(found) == 120
    assert {len(trace.info.assessments) for trace in found} == {8}
