"""Writing to MLflow behind an evaluation: a store that fails loses nothing, and stops nobody."""

from __future__ import annotations

import asyncio
import logging
import shutil
import threading
import time

import mlflow
import pytest
from langchain_core.runnables import RunnableLambda

from langchain_dbx_eval import EvaluationCallbackHandler, EvaluationResult, errors, evaluate
from langchain_dbx_eval._internal.paths import journals_root
from langchain_dbx_eval.cli import main
from langchain_dbx_eval.evaluation.journal.store import SCORED, Journal
from langchain_dbx_eval.evaluation.tracking import writer
from langchain_dbx_eval.evaluation.tracking.destination import Destination
from tests.evaluation.questions import RECORDS
from tests.evaluation.tracking.mlflow_server import MlflowServer


def answer(request):
    return request["messages"][-1]["content"].replace("question", "answer")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(writer, "_PATIENCE_S", 0.5)
    monkeypatch.setattr(writer, "_INTERVAL_S", 0.2)
    monkeypatch.setattr(writer, "_LONGEST_INTERVAL_S", 1.0)


@pytest.fixture
def server(_migrated_store, tmp_path):
    """A tracking server that is not running yet, set as MLflow's."""
    database = tmp_path / "server" / "mlflow.db"
    database.parent.mkdir()
    shutil.copy(_migrated_store, database)
    stopped = MlflowServer(database)
    mlflow.set_tracking_uri(stopped.uri)
    yield stopped
    stopped.kill()
    mlflow.set_tracking_uri(None)


def request_ids_in_mlflow(result):
    client = mlflow.MlflowClient()
    found = client.search_traces(
        locations=[result.experiment_id], run_id=result.run_id, max_results=500
    )
    return sorted(trace.info.tags["mlflow.eval.requestId"] for trace in found)


class TestAServer:
    """One test for each state of a server takes as many starts of it, at many seconds each."""

    def test_that_is_down_and_one_that_is_killed_and_restarted(
        self, server, caplog, capsys, monkeypatch
    ):
        with caplog.at_level(logging.WARNING):
            result = evaluate(answer, RECORDS, experiment_name="down")
        assert (len(result.rows), result.pending_rows, result.run_id) == (6, 6, None)
        assert result.metrics["response/ground_truth/exact_match/average"] == 1.0
        command = f"langchain-dbx-eval sync {result.journal.stem}"
        assert command in caplog.text
        assert command in repr(result)

        assert main(["sync", result.journal.stem]) == 1
        assert server.uri in capsys.readouterr().err

        server.start()
        assert main(["sync", result.journal.stem]) == 0
        assert "run_id=" in capsys.readouterr().out
        assert (result.pending_rows, "sync" in repr(result)) == (0, False)
        run = mlflow.get_run(result.run_id)
        assert run.info.status == "FINISHED"
        assert run.data.metrics["response/ground_truth/exact_match/average"] == 1.0
        assert request_ids_in_mlflow(result) == [f"r{n}" for n in range(6)]

        monkeypatch.setattr(writer, "_PATIENCE_S", 30)
        self._killed_and_restarted(server)
        for concurrency in (64, 256):
            self._many_at_once(concurrency)

    def _many_at_once(self, concurrency):
        async def chain(request):
            await asyncio.sleep(0.01)
            return answer(request)

        records = [{"request_id": f"r{n}", "request": f"question {n}"} for n in range(260)]
        options = {
            "max_concurrency": concurrency,
            "experiment_name": f"many at once, {concurrency}",
        }
        result = evaluate(chain, records, **options)

        assert len(result.rows) == 260
        assert request_ids_in_mlflow(result) == sorted(f"r{n}" for n in range(260))

    def _killed_and_restarted(self, server):
        asked = []
        lock = threading.Lock()
        restarting = threading.Thread(target=server.start)

        def chain(request):
            with lock:
                asked.append(request)
                if len(asked) == 20:
                    server.kill()
                if len(asked) == 40:
                    restarting.start()
            time.sleep(0.05)
            return answer(request)

        records = [{"request_id": f"r{n}", "request": f"question {n}"} for n in range(60)]
        result = evaluate(chain, records, max_concurrency=4, experiment_name="killed")
        restarting.join()

        assert len(asked) == len(result.rows) == 60
        assert result.pending_rows == 0, repr(result)
        assert request_ids_in_mlflow(result) == sorted(f"r{n}" for n in range(60))
        assert mlflow.get_run(result.run_id).info.status == "FINISHED"


def test_a_store_that_refuses_for_good_is_told_at_once_and_nothing_is_lost(tmp_path, caplog):
    (tmp_path / "not-a-database.db").write_text("hello" * 1000)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'not-a-database.db'}")
    try:
        with caplog.at_level(logging.WARNING):
            result = evaluate(answer, RECORDS)
    finally:
        mlflow.set_tracking_uri(None)

    assert len(result.rows) == result.pending_rows == 6
    assert "not-a-database" in caplog.text


def test_a_row_that_mlflow_refuses_does_not_hold_up_the_others(mlflow_store, caplog):
    def chain(request):
        # MLflow's store keeps UTF-8, which has no form for half of a surrogate pair.
        return "\udc80" if "3" in request["messages"][-1]["content"] else "fine"

    with caplog.at_level(logging.WARNING):
        result = evaluate(chain, RECORDS)

    assert (len(result.rows), result.pending_rows) == (6, 1)
    assert request_ids_in_mlflow(result) == ["r0", "r1", "r2", "r4", "r5"]
    assert "1 of its rows are not in MLflow" in caplog.text


def test_rows_are_written_while_the_evaluation_runs(mlflow_store):
    seen = []

    def chain(request):
        time.sleep(0.1)
        runs = mlflow.search_runs(experiment_names=["tests"], output_format="list")
        seen.append([run.info.status for run in runs])
        return answer(request)

    evaluate(chain, RECORDS * 4, max_concurrency=2)
    assert ["RUNNING"] in seen


class TestLoad:
    def test_a_result_is_read_from_its_journal_alone(self, mlflow_store, tmp_path):
        done = evaluate(answer, RECORDS)
        (tmp_path / "mlflow.db").unlink()

        for reference in (done.run_id, done.journal, str(done.journal)):
            loaded = EvaluationResult.load(reference)
            assert loaded.metrics == done.metrics
            assert loaded.tables["eval_results"].equals(done.tables["eval_results"])
            assert loaded.run_id == done.run_id
            assert repr(loaded) == repr(done)

    def test_its_dataset_is_what_was_asked(self, mlflow_store):
        loaded = EvaluationResult.load(evaluate(answer, RECORDS, repeat=2).run_id)

        assert [record.request_id for record in loaded.dataset] == [f"r{n}" for n in range(6)]

    def test_rows_are_a_sequence(self, mlflow_store):
        rows = evaluate(answer, RECORDS).rows

        assert (len(rows), rows[2].number, rows[-1].number) == (6, 2, 5)
        assert [row.number for row in rows[1:3]] == [1, 2]
        with pytest.raises(IndexError):
            rows[6]

    def test_the_pages_of_the_table_are_the_table(self, mlflow_store):
        # The last record alone has a column that the first pages know nothing of.
        records = [{"request": f"question {n}"} for n in range(401)]
        records.append({"request": "question 401", "team": "late"})
        result = evaluate(answer, records, repeat=2)
        table = result.tables["eval_results"]

        assert len(list(result.table_pages())) == 5
        logged = mlflow.load_table("eval_results.json", run_ids=[result.run_id])
        assert list(logged.columns) == list(table.columns)
        assert "team" in logged
        for column in ("request_id", "repetition", "response", "team", "trace_id"):
            assert list(logged[column].fillna("")) == list(table[column].fillna(""))

    def test_an_unknown_run_is_told(self):
        with pytest.raises(errors.NotFoundError, match="no-such-run"):
            EvaluationResult.load("no-such-run")


def test_a_finished_run_that_is_synced_again_stays_as_it_was(mlflow_store):
    result = evaluate(answer, RECORDS)
    before = mlflow.get_run(result.run_id).data.metrics

    assert main(["sync", result.run_id]) == 0

    assert mlflow.get_run(result.run_id).data.metrics == before
    assert request_ids_in_mlflow(result) == [f"r{n}" for n in range(6)]


def test_calls_whose_process_ended_before_their_result_can_be_synced(mlflow_store, capsys):
    handler = EvaluationCallbackHandler(RECORDS)
    RunnableLambda(str.upper).invoke("question 1", config={"callbacks": [handler]})
    deadline = time.monotonic() + 10
    while not (found := [*journals_root().glob("*.sqlite")]) or not Journal(found[0]).count(SCORED):
        assert time.monotonic() < deadline
        time.sleep(0.05)

    assert main(["sync", str(found[0])]) == 0, capsys.readouterr().err
    assert request_ids_in_mlflow(EvaluationResult.load(found[0])) == ["r1"]


def test_an_unknown_run_cannot_be_synced(capsys):
    assert main(["sync", "no-such-run"]) == 1
    assert "no-such-run" in capsys.readouterr().err


@pytest.mark.parametrize(
    "uri",
    [
        "http://me:s3cret@mlflow.example",
        "https://s3cret@mlflow.example/path",
        "postgresql://db.example/mlflow?user=me&password=s3cret",
    ],
)
def test_a_secret_of_the_store_is_not_kept(uri):
    secret = Destination(tracking_uri=uri, run_name="r")

    assert "s3cret" not in str(secret.to_json())
    assert "s3cret" not in secret.shown
    assert ".example" in secret.shown


@pytest.mark.parametrize(
    "uri", ["sqlite:////tmp/mlflow.db", "http://localhost:5000", "databricks", "/tmp/mlruns"]
)
def test_a_store_without_secrets_is_kept_as_it_is(uri):
    plain = Destination(tracking_uri=uri)

    assert (plain.to_json()["tracking_uri"], plain.shown) == (uri, uri)
