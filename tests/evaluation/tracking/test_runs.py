"""What an MLflow store holds after rows were written to it: once, twice, by two, against odds."""

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
from langchain_dbx_eval.evaluation.tracking import sql_store
from langchain_dbx_eval.evaluation.tracking.runs import TABLE_FILE, MlflowRun
from langchain_dbx_eval.evaluation.tracking.store_access import shown, tracking_error
from tests.evaluation.tracking.evaluated_rows import EVALUATION, written
from tests.evaluation.tracking.mlflow_server import MlflowServer


@pytest.fixture(scope="module")
def server(_migrated_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    database = tmp_path_factory.mktemp("server") / "mlflow.db"
    shutil.copy(_migrated_store, database)
    running = MlflowServer(database)
    running.start()
    yield running.uri
    running.kill()


def begin(uri: str, evaluation_id: str = EVALUATION) -> MlflowRun:
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("tests")
    experiment_id = experiment.experiment_id if experiment else client.create_experiment("tests")
    return MlflowRun.begin(
        tracking_uri=uri,
        experiment_id=experiment_id,
        run_name="mine",
        evaluation_id=evaluation_id,
    )


def traces_of(run: MlflowRun) -> list[Trace]:
    found = mlflow.MlflowClient(run.tracking_uri).search_traces(
        locations=[run.experiment_id], run_id=run.run_id, max_results=500
    )
    return sorted(found, key=lambda trace: trace.info.trace_id)


def told(trace: Trace) -> dict[str, Any]:
    """All that a trace says, but for when it was written."""
    tags = {k: v for k, v in trace.info.tags.items() if "Location" not in k}
    spans = [(s.name, s.parent_id, s.inputs, s.outputs, s.status) for s in trace.data.spans]
    said = []
    for assessment in trace.info.assessments:
        facts = assessment.to_dictionary()
        for moment in ("create_time", "last_update_time"):
            del facts[moment]
        # MLflow's client of a server does not read it back for expectations (3.17.2).
        facts.pop("valid", None)
        said.append(facts)
    return {
        "id": trace.info.trace_id,
        "state": trace.info.state,
        "usage": trace.info.token_usage,
        "tags": tags,
        "spans": spans,
        "said": sorted(said, key=lambda facts: facts["assessment_id"]),
    }


def test_rows_that_are_written_twice_are_there_once(mlflow_store: str) -> None:
    rows = [written(0), written(1, error="ValueError: no"), written(2, run=False)]
    run = begin(mlflow_store)
    ids = run.write_rows(rows)
    once = [told(trace) for trace in traces_of(run)]
    assert run.write_rows(rows, maybe_written=True) == ids
    assert [told(trace) for trace in traces_of(run)] == once
    assert sorted(ids) == [trace["id"] for trace in once]
    assert [len(trace["said"]) for trace in once] == [8, 8, 8]


def test_a_correction_by_hand_outlives_a_second_writing(mlflow_store: str) -> None:
    run = begin(mlflow_store)
    [trace_id] = run.write_rows([written(0)])
    exact = next(a for a in traces_of(run)[0].info.assessments if a.name == "exact")
    mlflow.update_assessment(
        trace_id=trace_id,
        assessment_id=exact.assessment_id,
        assessment=mlflow.entities.Feedback(name="exact", value=False),
    )
    run.write_rows([written(0)], maybe_written=True)
    values = {a.name: a for a in traces_of(run)[0].info.assessments}
    assert values["exact"].feedback.value is False


def log_spans_nowhere(self: TracingClient, *args: Any) -> None:
    raise NotImplementedError


@pytest.mark.parametrize("way", ["threads", "server"])
def test_every_way_of_writing_reads_back_the_same(
    way: str, mlflow_store: str, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [written(n) for n in range(4)] + [written(0, repetition=2, run=False)]
    fast = begin(mlflow_store, "f" * 32)
    fast.write_rows(rows)
    expected = [told(trace) for trace in traces_of(fast)]
    if way == "threads":
        monkeypatch.setattr(sql_store, "insert", lambda store, assessments: False)
    slow = begin(server if way == "server" else mlflow_store, way)
    slow.write_rows(rows)
    once = [told(trace) for trace in traces_of(slow)]
    slow.write_rows(rows, maybe_written=True)
    assert [told(trace) for trace in traces_of(slow)] == once
    assert [of_run(trace, slow) for trace in once] == [of_run(trace, fast) for trace in expected]


def of_run(trace: dict[str, Any], run: MlflowRun) -> dict[str, Any]:
    """A trace without the ids that follow from the run, and what other runs say of it."""
    said = [dict(facts) for facts in trace["said"] if run.run_id in str(facts)]
    for facts in said:
        facts["metadata"] = {k: v for k, v in facts["metadata"].items() if "sourceRun" not in k}
        del facts["assessment_id"]
    return {**trace, "said": sorted(said, key=str)}


def test_a_store_that_is_not_as_known_is_written_to_by_the_public_way(
    mlflow_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    real = TracingClient.log_assessment

    def count(self: TracingClient, *args: Any) -> Any:
        calls.append(args)
        return real(self, *args)

    monkeypatch.setattr(TracingClient, "log_assessment", count)
    run = begin(mlflow_store)
    run.write_rows([written(0)])
    assert not calls
    monkeypatch.setattr(sql_store, "_traces", renamed)
    run.write_rows([written(1)])
    assert len(calls) == 8
    assert [len(trace.info.assessments) for trace in traces_of(run)] == [8, 8]


@pytest.mark.parametrize("server_names_them", [False, True])
def test_only_what_is_missing_is_written_by_the_public_way(
    server_names_them: bool, mlflow_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_store, "insert", lambda store, assessments: False)
    real = TracingClient.log_assessment
    run, client = begin(mlflow_store), TracingClient(mlflow_store)

    def with_an_id_of_its_own(self: TracingClient, trace_id: str, assessment: Any) -> Any:
        assessment.assessment_id = None
        return real(self, trace_id, assessment)

    if server_names_them:
        monkeypatch.setattr(TracingClient, "log_assessment", with_an_id_of_its_own)
    [trace_id] = run.write_rows([written(0)])
    there = client.get_trace_info(trace_id).assessments
    lost = next(a for a in there if a.name == "judged")
    client.delete_assessment(trace_id, lost.assessment_id)
    run.write_rows([written(0)], maybe_written=True)
    names = [a.name for a in client.get_trace_info(trace_id).assessments]
    assert sorted(names) == sorted(a.name for a in there)


def renamed(store: Any, *args: Any) -> Any:
    return store._a_method_of_a_later_mlflow(*args)


def test_a_store_that_refuses_spans_gets_each_trace_under_the_same_id(
    mlflow_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [written(0), written(1, error="ValueError: no")]
    run = begin(mlflow_store, "1" * 32)
    run.write_rows(rows)
    expected = [told(trace) for trace in traces_of(run)]
    for trace in traces_of(run):
        mlflow.MlflowClient(mlflow_store).delete_traces(
            run.experiment_id, trace_ids=[trace.info.trace_id]
        )
    monkeypatch.setattr(TracingClient, "log_spans", log_spans_nowhere)
    run.write_rows(rows)
    run.write_rows(rows, maybe_written=True)
    assert [told(trace) for trace in traces_of(run)] == expected


def test_a_run_is_found_again_by_its_evaluation(mlflow_store: str) -> None:
    first = begin(mlflow_store)
    first.finish({"a": 1.0}, [pd.DataFrame({"x": [1]})], status="KILLED")
    again = begin(mlflow_store)
    assert again.run_id == first.run_id
    assert mlflow.get_run(first.run_id).info.status == "RUNNING"
    assert begin(mlflow_store, "other").run_id != first.run_id
    tags = mlflow.get_run(first.run_id).data.tags
    assert tags["mlflow.runType"] == "genai_evaluate"
    assert {"mlflow.user", "mlflow.source.name"} <= tags.keys()


def test_a_second_end_takes_the_place_of_the_first(mlflow_store: str) -> None:
    run = begin(mlflow_store)
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


def test_the_users_run_goes_on(mlflow_store: str) -> None:
    with mlflow.start_run() as active:
        run = MlflowRun.attach(tracking_uri=mlflow_store, run_id=active.info.run_id)
        run.finish({"a": 1.0}, [pd.DataFrame({"x": [1]})], status="FINISHED")
        assert not run.is_ours
        assert mlflow.get_run(active.info.run_id).info.status == "RUNNING"
    assert mlflow.get_run(active.info.run_id).data.tags["mlflow.runType"] == "genai_evaluate"


def test_a_dataset_that_is_named_twice_is_one_input(mlflow_store: str) -> None:
    dataset = EvalDataset.load([{"request": "a"}]).mlflow_input()
    run = begin(mlflow_store)
    run.log_dataset(dataset)
    run.log_dataset(dataset)
    [given] = mlflow.get_run(run.run_id).inputs.dataset_inputs
    assert given.dataset.digest == dataset.digest
    assert {tag.key: tag.value for tag in given.tags} == {"mlflow.data.context": "evaluation"}


def test_a_further_asking_of_a_record_has_an_id_of_its_own(mlflow_store: str) -> None:
    run = begin(mlflow_store)
    run.write_rows([written(0, run=False), written(0, run=False, repetition=2)])
    tags = {trace.info.tags["mlflow.eval.requestId"] for trace in traces_of(run)}
    assert tags == {"r0", "r0#2"}


@pytest.fixture
def autologged(mlflow_store: str) -> Iterator[Callable[[str], str]]:
    """Asks a chain under autologging, and tells the trace."""
    mlflow.langchain.autolog()

    def ask(question: str) -> str:
        RunnableLambda(lambda text: text.upper()).invoke(question)
        trace_id = mlflow.get_last_active_trace_id()
        assert trace_id is not None
        return trace_id

    yield ask
    mlflow.langchain.autolog(disable=True)
    mlflow.flush_trace_async_logging()


def test_what_autologging_has_traced_is_not_traced_again(
    mlflow_store: str, autologged: Callable[[str], str]
) -> None:
    trace_id = autologged("hello")
    run = begin(mlflow_store)
    assert run.write_rows([written(0, autolog_id=trace_id)]) == [trace_id]
    [trace] = traces_of(run)
    assert trace.data.spans[0].outputs == "HELLO"
    assert trace.info.tags["mlflow.eval.requestId"] == "r0"
    assert len(trace.info.assessments) == 8


def test_a_row_whose_autologged_trace_never_comes_gets_its_own(
    mlflow_store: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("langchain_dbx_eval.evaluation.tracking.traces._PATIENCE_SECONDS", 0.1)
    run = begin(mlflow_store)
    row = written(0, autolog_id="tr-" + "0" * 31 + "1")
    assert run.write_rows([row]) == [row.trace_id]
    assert "1 of 1 traces that mlflow.langchain.autolog began have not come" in caplog.text
    assert len(traces_of(run)[0].info.assessments) == 8


def test_a_database_that_is_locked_for_a_moment_is_tried_again(
    mlflow_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failures = TracingClient.log_spans, iter([1, 1])

    def busy(self: TracingClient, *args: Any) -> Any:
        if next(failures, None):
            raise MlflowException("(sqlite3.OperationalError) database is locked", 1001)
        return real(self, *args)

    monkeypatch.setattr(TracingClient, "log_spans", busy)
    run = begin(mlflow_store)
    run.write_rows([written(0)])
    assert next(failures, "none left") == "none left"
    assert len(traces_of(run)) == 1


def test_a_server_that_is_down_is_told_within_seconds(
    tmp_path: Path,
) -> None:
    # Nothing listens here: the server was never started.
    uri = MlflowServer(tmp_path / "none.db").uri
    with pytest.raises(TrackingError, match=uri) as raised:
        MlflowRun.attach(tracking_uri=uri, run_id="0" * 32)
    assert raised.value.retryable


def test_a_run_that_is_not_there_is_one_error(mlflow_store: str) -> None:
    with pytest.raises(TrackingError, match="0000 not found"):
        MlflowRun.attach(tracking_uri=mlflow_store, run_id="0" * 32)


def test_a_password_in_the_tracking_uri_is_not_shown() -> None:
    uri = "postgresql://me:s3cret@db.example/mlflow"
    assert shown(uri) == "postgresql://***@db.example/mlflow"
    error = tracking_error(uri, ValueError(f"cannot connect to {uri} with s3cret"))
    assert "s3cret" not in str(error)
    assert "db.example" in str(error)


ROOT = Path(__file__).parents[3]

WRITER = """
import sys
sys.path.insert(0, {root!r})
from tests.evaluation.tracking.evaluated_rows import written
from langchain_dbx_eval.evaluation.tracking.runs import MlflowRun

run = MlflowRun.attach(tracking_uri={uri!r}, run_id={run_id!r})
for start in range({first}, {first} + 60, 10):
    run.write_rows([written(n) for n in range(start, start + 10)])
"""


def test_two_processes_write_to_one_database_at_once(mlflow_store: str) -> None:
    run = begin(mlflow_store)
    programs = [
        WRITER.format(root=str(ROOT), uri=mlflow_store, run_id=run.run_id, first=first)
        for first in (0, 1000)
    ]
    writers = [subprocess.Popen([sys.executable, "-c", program]) for program in programs]
    assert [writer.wait(timeout=90) for writer in writers] == [0, 0]
    found = traces_of(run)
    assert len(found) == 120
    assert {len(trace.info.assessments) for trace in found} == {8}
