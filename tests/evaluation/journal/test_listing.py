"""Evaluations on this machine: their states, the command that lists them, and `resume="last"`."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import mlflow
import pytest
from langchain_core.runnables import RunnableLambda

from langchain_dbx_eval import EvaluationCallbackHandler, errors, evaluate, scorer
from langchain_dbx_eval._internal.paths import journals_root
from langchain_dbx_eval.cli import main
from langchain_dbx_eval.evaluation import EvaluationOptions, list_evaluations
from langchain_dbx_eval.evaluation.journal.store import Journal
from langchain_dbx_eval.evaluation.tracking import store_access, writer
from tests.evaluation.questions import RECORDS
from tests.polling import wait_until

pytestmark = pytest.mark.usefixtures("mlflow_store")

FILES = Path(__file__).with_name("files")
# The model answers nothing until the event is set.
PROGRAM = """
import threading
import mlflow
from langchain_dbx_eval import evaluate

RECORDS = [{"request_id": f"r{n}", "request": f"question {n}"} for n in range(6)]
answering = threading.Event()

def model(request):
    answering.wait()
    return "answer"

if __name__ == "__main__":
    mlflow.set_experiment("tests")
    evaluate(model, RECORDS, max_concurrency=1)
"""


def answer(request):
    return request["messages"][-1]["content"].replace("question", "answer")


def other(request):
    return "42"


@scorer
def length(response):
    return len(response)


def interrupt(model, records, **options):
    """Leave an evaluation as its process would that is killed before the last row."""
    done = evaluate(model, records, **options)
    journal = Journal.find(done.journal)
    journal.reassign({}, journal.row_keys()[-1:])
    journal.update_manifest(complete=False, logged=False)
    return done


class TestStates:
    def test_a_finished_evaluation_is_complete(self):
        before = datetime.now(timezone.utc) - timedelta(seconds=1)
        result = evaluate(answer, [*RECORDS, {"no_request": 1}], repeat=2)
        [info] = list_evaluations()

        assert info.state == "complete"
        assert (info.finished, info.failed, info.total) == (14, 2, 14)
        assert (info.evaluation_id, info.run_id) == (result.evaluation_id, result.run_id)
        assert (info.experiment_id, info.journal) == (result.experiment_id, result.journal)
        assert before <= info.created_at <= datetime.now(timezone.utc)

    def test_the_newest_is_the_first(self):
        results = [evaluate(answer, RECORDS[:1]) for _ in range(3)]

        assert [info.run_id for info in list_evaluations()] == [r.run_id for r in results[::-1]]

    def test_an_evaluation_whose_process_ended_is_interrupted(self):
        interrupt(answer, RECORDS)
        [info] = list_evaluations()

        assert (info.state, info.finished, info.total) == ("interrupted", 5, 6)

    def test_an_evaluation_that_mlflow_lacks_is_not_synced(self, monkeypatch, mlflow_store):
        monkeypatch.setattr(writer, "_FLUSH_TIMEOUT_S", 0.1)
        mlflow.set_tracking_uri("http://user:password@127.0.0.1:9")
        result = evaluate(answer, RECORDS)
        mlflow.set_tracking_uri(mlflow_store)
        assert [(i.state, i.run_id) for i in list_evaluations()] == [("not synced", None)]

        assert main(["sync", result.evaluation_id]) == 0
        assert [info.state for info in list_evaluations()] == ["complete"]

    def test_a_callback_is_running_until_its_result(self):
        handler = EvaluationCallbackHandler(RECORDS)
        RunnableLambda(answer).invoke(
            {"messages": [{"role": "user", "content": "question 1"}]},
            config={"callbacks": [handler]},
        )
        # A journal is created, and then locked.
        wait_until(lambda: [info.state for info in list_evaluations()] == ["running"])
        assert [info.total for info in list_evaluations()] == [None]

        handler.result()
        assert [info.state for info in list_evaluations()] == ["complete"]

    def test_journals_of_all_versions_are_listed(self):
        journals_root().mkdir(parents=True)
        for file in FILES.glob("*.sqlite"):
            shutil.copy(file, journals_root())
        listed = list_evaluations()

        assert {info.evaluation_id for info in listed} == {f.stem for f in FILES.glob("*.sqlite")}
        assert {info.state for info in listed} == {"interrupted"}
        assert {info.finished for info in listed if info.total == 6} == {3}

    def test_a_file_that_is_no_journal_is_left_out_with_a_warning(self, caplog):
        evaluate(answer, RECORDS[:1])
        (journals_root() / "broken.sqlite").write_text("no database")

        assert len(list_evaluations()) == 1
        assert "broken.sqlite is not a journal" in caplog.text

    def test_without_any_the_list_is_empty(self):
        assert list_evaluations() == []


class TestCommand:
    def test_it_prints_a_table(self, capsys):
        result = evaluate(answer, RECORDS)
        assert main(["list"]) == 0
        header, line = capsys.readouterr().out.splitlines()

        assert header.split()[:3] == ["STARTED", "STATE", "ROWS"]
        assert line.split()[2:5] == ["complete", "6/6", "0"]
        assert line.split()[-2:] == [result.evaluation_id, result.run_id]

    def test_it_prints_json(self, capsys):
        result = evaluate(answer, RECORDS)
        assert main(["list", "--json"]) == 0
        [info] = json.loads(capsys.readouterr().out)

        assert info["state"] == "complete"
        assert info["run_id"] == result.run_id
        assert info["journal"] == str(result.journal)
        assert datetime.fromisoformat(info["created_at"]).tzinfo is not None


class TestLast:
    def test_the_newest_interrupted_evaluation_of_this_dataset_and_model_is_continued(self):
        interrupt(answer, RECORDS)
        expected = interrupt(answer, RECORDS)
        evaluate(other, RECORDS)
        evaluate(answer, RECORDS[:3])
        result = evaluate(answer, RECORDS, resume="last")

        assert result.run_id == expected.run_id
        assert [row.number for row in result.rows] == list(range(6))

    def test_a_complete_one_is_rejected(self):
        interrupt(answer, RECORDS)
        done = evaluate(answer, RECORDS)

        with pytest.raises(errors.JournalError, match=f"{done.evaluation_id}, is complete.*retry"):
            evaluate(answer, RECORDS, resume="last")

    def test_none_is_an_error_that_shows_what_differs(self):
        with pytest.raises(errors.NotFoundError, match="there is no evaluation of this dataset"):
            evaluate(answer, RECORDS, resume="last")
        earlier = interrupt(other, RECORDS)

        with pytest.raises(
            errors.NotFoundError, match=f"{earlier.evaluation_id} has another model"
        ):
            evaluate(answer, RECORDS, resume="last")
        with pytest.raises(errors.NotFoundError, match="another dataset and model"):
            evaluate(answer, RECORDS[:2], resume="last")
        assert len(list_evaluations()) == 1

    def test_other_changes_are_rejected_as_for_an_id(self):
        earlier = interrupt(answer, RECORDS)

        with pytest.raises(errors.JournalError, match="changed since it started: repeat"):
            evaluate(answer, RECORDS, repeat=2, resume="last")
        with pytest.raises(errors.JournalError, match="changed since it started: scorers"):
            evaluate(answer, RECORDS, scorers=[length], resume="last")
        options = EvaluationOptions(allow_changes=True)
        result = evaluate(answer, RECORDS, scorers=[length], resume="last", options=options)
        assert result.run_id == earlier.run_id

    def test_a_callback_is_left_out(self):
        handler = EvaluationCallbackHandler(RECORDS)
        handler.result()

        with pytest.raises(errors.NotFoundError, match="there is no evaluation"):
            evaluate(None, RECORDS, resume="last")

    def test_one_that_another_process_runs_is_rejected(self):
        earlier = interrupt(answer, RECORDS)
        with (
            Journal.find(earlier.journal).locked(),
            pytest.raises(errors.JournalError, match="another process"),
        ):
            evaluate(answer, RECORDS, resume="last")


def test_an_evaluation_killed_in_its_first_row_has_a_run_and_is_resumed(tmp_path, mlflow_store):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    log = tmp_path / "stderr.log"
    environment = {**os.environ, "MLFLOW_TRACKING_URI": mlflow_store}
    with (
        log.open("w") as stderr,
        subprocess.Popen([sys.executable, program], env=environment, stderr=stderr) as process,
    ):
        try:
            wait_until(lambda: "is MLflow run" in log.read_text(), timeout=300)
            [running] = list_evaluations()
        finally:
            process.kill()

    assert process.returncode == -signal.SIGKILL
    assert running.state == "running"
    [killed] = list_evaluations()
    assert (killed.state, killed.finished, killed.total) == ("interrupted", 0, 6)
    assert f"MLflow run {killed.run_id}." in log.read_text()
    assert mlflow.get_run(killed.run_id).info.experiment_id == killed.experiment_id

    of_program = runpy.run_path(str(program))
    of_program["answering"].set()
    result = evaluate(of_program["model"], of_program["RECORDS"], resume="last")
    assert (result.run_id, len(result.rows)) == (killed.run_id, 6)
    assert mlflow.get_run(killed.run_id).info.status == "FINISHED"
    assert len(mlflow.search_runs([killed.experiment_id], output_format="list")) == 1


def test_a_model_that_cannot_be_resolved_leaves_neither_run_nor_journal():
    with pytest.raises(errors.NotFoundError):
        evaluate("models:/no_such_model/1", RECORDS)

    assert list_evaluations() == []
    assert mlflow.search_runs(experiment_names=["tests"], output_format="list") == []


def test_the_id_is_logged_before_the_first_row_and_stored(caplog):
    seen = []

    def model(request):
        [info] = list_evaluations()
        seen.append(f"is MLflow run {info.run_id}." in caplog.text)
        return "answer"

    evaluate(model, RECORDS[:2], max_concurrency=1)
    assert seen == [True, True]


def test_with_mlflow_down_the_evaluation_id_is_logged_and_it_goes_on(monkeypatch, caplog):
    monkeypatch.setattr(writer, "_FLUSH_TIMEOUT_S", 0.1)
    mlflow.set_tracking_uri("http://127.0.0.1:9")
    result = evaluate(answer, RECORDS)
    [line] = [r.getMessage() for r in caplog.records if "no MLflow run yet" in r.getMessage()]

    assert f"resume={result.evaluation_id!r}" in line
    assert "http://127.0.0.1:9" in line
    assert "\n" not in line
    assert len(result.rows) == 6


def test_a_server_that_does_not_answer_does_not_delay_the_rows_for_long(monkeypatch, caplog):
    monkeypatch.setattr(writer, "_FLUSH_TIMEOUT_S", 0.1)
    monkeypatch.setattr(writer, "_OPEN_TIMEOUT_S", 0.2)
    monkeypatch.setattr(store_access, "_PROBE_TIMEOUT_S", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mlflow.set_tracking_uri(f"http://127.0.0.1:{silent.getsockname()[1]}")
        result = evaluate(answer, RECORDS[:1])

    assert "MLflow did not answer within 0.2 s" in caplog.text
    assert len(result.rows) == 1
