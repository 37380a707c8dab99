"""Writing to MLflow in the background: a store that fails neither loses rows nor stops rows."""

from __future__ import annotations

import asyncio
import logging
import shutil
import threading
import time

import mlflow
import pytest
from langchain_core.runnables import RunnableLambda
from mlflow.exceptions import INVALID_PARAMETER_VALUE, MlflowException
from mlflow.tracing.client import TracingClient

from langchain_dbx_eval import (
    EvalRecord,
    EvaluationCallbackHandler,
    EvaluationResult,
    errors,
    evaluate,
)
from langchain_dbx_eval._internal.paths import journals_root
from langchain_dbx_eval.cli import main
from langchain_dbx_eval.evaluation.journal.manifest import Destination, EvaluationManifest
from langchain_dbx_eval.evaluation.journal.rows import Answer, RowKey
from langchain_dbx_eval.evaluation.journal.store import SCORED, UNWRITTEN, Journal
from langchain_dbx_eval.evaluation.tracking import store_access, writer
from langchain_dbx_eval.evaluation.tracking.store_access import redact_uri
from langchain_dbx_eval.scoring import Outcome
from tests.evaluation.questions import RECORDS
from tests.evaluation.tracking.mlflow_server import MlflowServer
from tests.polling import wait_until


def answer(request):
    return request["messages"][-1]["content"].replace("question", "answer")


@pytest.fixture(autouse=True)
def _short_intervals(monkeypatch):
    monkeypatch.setattr(writer, "_FLUSH_TIMEOUT_S", 0.5)
    monkeypatch.setattr(writer, "_INTERVAL_S", 0.2)
    monkeypatch.setattr(writer, "_MAX_INTERVAL_S", 1.0)


@pytest.fixture
def server(_migrated_store, tmp_path):
    """A tracking server that is not running yet, set as the tracking URI."""
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


@pytest.mark.timeout(900)
class TestAServer:
    """One test for all states of a server: each start of one takes many seconds."""

    def test_that_is_down_or_killed_and_restarted_receives_all_rows(
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

        monkeypatch.setattr(writer, "_FLUSH_TIMEOUT_S", 300)
        self._killed_and_restarted(server)
        for concurrency in (64, 256):
            self._many_rows(concurrency)

    def _many_rows(self, concurrency):
        async def chain(request):
            await asyncio.sleep(0.01)
            return answer(request)

        records = [{"request_id": f"r{n}", "request": f"question {n}"} for n in range(260)]
        options = {
            "max_concurrency": concurrency,
            "experiment_name": f"many rows, {concurrency}",
        }
        result = evaluate(chain, records, **options)

        assert len(result.rows) == 260
        assert request_ids_in_mlflow(result) == sorted(f"r{n}" for n in range(260))

    def _killed_and_restarted(self, server):
        invoked = []
        lock = threading.Lock()
        restarting = threading.Thread(target=server.start)

        def chain(request):
            with lock:
                invoked.append(request)
                if len(invoked) == 20:
                    server.kill()
                if len(invoked) == 40:
                    restarting.start()
            time.sleep(0.05)
            return answer(request)

        records = [{"request_id": f"r{n}", "request": f"question {n}"} for n in range(60)]
        result = evaluate(chain, records, max_concurrency=4, experiment_name="killed")
        restarting.join()

        assert len(invoked) == len(result.rows) == 60
        assert result.pending_rows == 0, repr(result)
        assert request_ids_in_mlflow(result) == sorted(f"r{n}" for n in range(60))
        assert mlflow.get_run(result.run_id).info.status == "FINISHED"


@pytest.mark.timeout(600)
def test_a_server_that_freezes_in_mid_run_does_not_hold_the_evaluation(server, monkeypatch, caplog):
    monkeypatch.setattr(store_access, "_PROBE_INTERVAL_S", 1.0)
    server.start()
    frozen_at = []

    def chain(request):
        number = int(answer(request).split()[-1])
        if number == 30:
            # The server is frozen while it is written to, and stays so.
            wait_until(lambda: journal_of_this_test().count(UNWRITTEN) < number)
            server.freeze()
            frozen_at.append(time.monotonic())
        return answer(request)

    data = [{"request": f"question {n}"} for n in range(40)]
    result = evaluate(chain, data, max_concurrency=1, experiment_name="frozen")
    # Without deadlines: 395 s.
    assert time.monotonic() - frozen_at[0] < 120
    assert 0 < result.pending_rows <= 40
    assert f"langchain-dbx-eval sync {result.run_id}" in caplog.text

    server.resume()
    monkeypatch.setattr(writer, "_FLUSH_TIMEOUT_S", 120.0)
    assert main(["sync", result.run_id]) == 0
    assert EvaluationResult.load(result.run_id).pending_rows == 0
    assert sorted(request_ids_in_mlflow(result)) == sorted(
        row.record.request_id for row in result.rows
    )


def journal_of_this_test():
    [path] = journals_root().glob("*.sqlite")
    return Journal.find(path)


def test_a_store_that_cannot_be_used_is_logged_and_no_row_is_lost(tmp_path, caplog):
    (tmp_path / "not-a-database.db").write_text("hello" * 1000)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'not-a-database.db'}")
    try:
        with caplog.at_level(logging.WARNING):
            result = evaluate(answer, RECORDS)
    finally:
        mlflow.set_tracking_uri(None)

    assert len(result.rows) == result.pending_rows == 6
    assert "not-a-database" in caplog.text


def test_a_row_that_mlflow_rejects_delays_neither_the_others_nor_the_metrics(
    mlflow_store, caplog, monkeypatch
):
    def reject(client, experiment_id, spans):
        if any("question 3" in str(span.inputs) for span in spans):
            raise MlflowException("rejected", INVALID_PARAMETER_VALUE)
        return log_spans(client, experiment_id, spans)

    def reject_trace(client, info):
        raise MlflowException("rejected", INVALID_PARAMETER_VALUE)

    log_spans = TracingClient.log_spans
    monkeypatch.setattr(TracingClient, "log_spans", reject)
    monkeypatch.setattr(TracingClient, "start_trace", reject_trace)
    with caplog.at_level(logging.WARNING):
        result = evaluate(answer, RECORDS)

    assert (len(result.rows), result.pending_rows) == (6, 1)
    assert request_ids_in_mlflow(result) == ["r0", "r1", "r2", "r4", "r5"]
    assert "1 of its rows are not in MLflow" in caplog.text
    run = mlflow.get_run(result.run_id)
    assert (run.info.status, run.data.metrics["rows/total"]) == ("FINISHED", 6)


class RejectingRun:
    """Rejects the rows with some numbers, and counts the calls."""

    run_id, experiment_id = "run", "0"

    def __init__(self, rejected):
        self.rejected = rejected
        self.calls = 0

    def write_rows(self, rows, *, maybe_written):
        self.calls += 1
        if {row.number for row in rows} & self.rejected:
            raise errors.TrackingError("INVALID_PARAMETER_VALUE", retryable=False)
        return [f"tr-{row.number}" for row in rows]

    def finish(self, metrics, table, *, status, summary):
        pass


@pytest.fixture
def journal_of_250_rows():
    journal = Journal.create(EvaluationManifest.describe(None, []))
    for number in range(250):
        add_row(journal, number)
    return journal


def add_row(journal, number):
    answer = Answer(record=EvalRecord(request="q"), outcome=Outcome(response="a"))
    journal.save_answer(RowKey(number), answer)
    journal.save_scores(RowKey(number), {}, last=True)


def write_to(run, journal, monkeypatch):
    monkeypatch.setattr(writer.MlflowRun, "open", lambda *_, **options: run)
    return writer.MlflowWriter(journal, Destination(), None)


def test_a_store_that_rejects_every_row_receives_a_few_rows_only(journal_of_250_rows, monkeypatch):
    run = RejectingRun(set(range(250)))
    with pytest.raises(errors.TrackingError, match="250 of its rows are not in MLflow"):
        write_to(run, journal_of_250_rows, monkeypatch).flush(complete=True)

    assert run.calls <= 20


@pytest.mark.parametrize("rejected", [range(30), range(100, 130), range(0, 250, 9)])
def test_rejected_rows_do_not_delay_the_others(rejected, journal_of_250_rows, monkeypatch):
    run = RejectingRun(set(rejected))
    with pytest.raises(errors.TrackingError):
        write_to(run, journal_of_250_rows, monkeypatch).flush(complete=True)

    assert [key.number for key in journal_of_250_rows.row_keys(UNWRITTEN)] == list(rejected)


def test_a_new_row_is_written_after_many_rows_were_rejected(monkeypatch):
    journal = Journal.create(EvaluationManifest.describe(None, []))
    mlflow_writer = write_to(RejectingRun(set(range(10))), journal, monkeypatch)
    for number in range(10):
        add_row(journal, number)
    for number in (10, 11):
        with pytest.raises(errors.TrackingError):
            mlflow_writer.flush(complete=True)
        add_row(journal, number)
    with pytest.raises(errors.TrackingError):
        mlflow_writer.flush(complete=True)

    assert [key.number for key in journal.row_keys(UNWRITTEN)] == list(range(10))


def test_rows_are_written_while_the_evaluation_runs(mlflow_store):
    def traces():
        experiment = mlflow.get_experiment_by_name("tests").experiment_id
        return mlflow.search_traces(locations=[experiment], return_type="list")

    def chain(request):
        if request["messages"][-1]["content"] == "question 5":
            wait_until(traces)
        return answer(request)

    assert len(evaluate(chain, RECORDS, max_concurrency=1).rows) == 6


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

    def test_its_dataset_has_the_evaluated_records(self, mlflow_store):
        loaded = EvaluationResult.load(evaluate(answer, RECORDS, repeat=2).run_id)

        assert [record.request_id for record in loaded.dataset] == [f"r{n}" for n in range(6)]

    def test_rows_are_a_sequence(self, mlflow_store):
        rows = evaluate(answer, RECORDS).rows

        assert (len(rows), rows[2].number, rows[-1].number) == (6, 2, 5)
        assert [row.number for row in rows[1:3]] == [1, 2]
        with pytest.raises(IndexError):
            rows[6]

    def test_the_pages_of_the_table_are_the_table(self, mlflow_store):
        # Only the last record has this column.
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

    def test_an_unknown_run_is_an_error(self):
        with pytest.raises(errors.NotFoundError, match="no-such-run"):
            EvaluationResult.load("no-such-run")


def test_a_finished_run_is_not_changed_by_a_second_sync(mlflow_store):
    result = evaluate(answer, RECORDS)
    before = mlflow.get_run(result.run_id).data.metrics

    assert main(["sync", result.run_id]) == 0

    assert mlflow.get_run(result.run_id).data.metrics == before
    assert request_ids_in_mlflow(result) == [f"r{n}" for n in range(6)]


def test_the_calls_of_a_callback_are_not_synced_while_it_collects_them(mlflow_store, capsys):
    handler = EvaluationCallbackHandler(RECORDS)
    RunnableLambda(str.upper).invoke("question 1", config={"callbacks": [handler]})
    wait_until(lambda: any(Journal(p).count(SCORED) for p in journals_root().glob("*.sqlite")))
    [path] = journals_root().glob("*.sqlite")

    assert main(["sync", str(path)]) == 1
    assert "another process" in capsys.readouterr().err
    assert request_ids_in_mlflow(handler.result()) == ["r1"]
    assert main(["sync", str(path)]) == 0


def test_an_unknown_run_cannot_be_synced(capsys):
    assert main(["sync", "no-such-run"]) == 1
    assert "no-such-run" in capsys.readouterr().err


def stored_destination_of(destination):
    journal = Journal.create(EvaluationManifest.describe(None, []))
    writer.MlflowWriter(journal, destination, None)
    return journal.manifest.destination


@pytest.mark.parametrize(
    "uri",
    [
        "http://me:s3cret@mlflow.example",
        "https://s3cret@mlflow.example/path",
        "postgresql://db.example/mlflow?user=me&password=s3cret",
    ],
)
def test_a_password_in_the_tracking_uri_is_not_stored(uri):
    destination = stored_destination_of(Destination(tracking_uri=uri, run_name="r"))

    assert (destination.tracking_uri, destination.run_name) == (None, "r")
    assert "s3cret" not in redact_uri(uri)
    assert ".example" in redact_uri(uri)


@pytest.mark.parametrize(
    "uri", ["sqlite:////tmp/mlflow.db", "http://localhost:5000", "databricks", "/tmp/mlruns"]
)
def test_a_tracking_uri_without_a_password_is_stored_unchanged(uri):
    destination = stored_destination_of(Destination(tracking_uri=uri))

    assert (destination.tracking_uri, redact_uri(uri)) == (uri, uri)
