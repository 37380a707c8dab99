"""Journals of every schema version are loaded, resumed and written to MLflow.

``files/write_journal.py`` wrote the files, with the code of their version.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from datetime import date
from pathlib import Path

import mlflow
import pytest
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda

from langchain_dbx_eval import EvaluationResult, errors, evaluate
from langchain_dbx_eval._internal.paths import journals_root
from langchain_dbx_eval.cli import main
from langchain_dbx_eval.evaluation import EvaluationOptions
from langchain_dbx_eval.evaluation.journal import schema
from langchain_dbx_eval.evaluation.journal.store import Journal
from tests.evaluation.journal.files.write_journal import (
    CONFIG,
    FAILING,
    LAST_ANSWERED,
    RECORDS,
    make_judge,
)

FILES = Path(__file__).with_name("files")
VERSIONS = range(1, schema.VERSION + 1)

pytestmark = pytest.mark.usefixtures("mlflow_store")


def copy_journal(name):
    """Copy a file to the folder of journals."""
    journals_root().mkdir(parents=True)
    return Path(shutil.copy(FILES / name, journals_root()))


@pytest.fixture(params=VERSIONS, ids=lambda version: f"v{version}")
def journal(request):
    """The journal of an `evaluate` whose process died."""
    return copy_journal(f"v{request.param}.sqlite")


@pytest.fixture(params=VERSIONS, ids=lambda version: f"v{version}")
def callback_journal(request):
    """The journal of a callback whose process died."""
    return copy_journal(f"v{request.param}_callback.sqlite")


def request_ids_in_mlflow(result):
    traces = mlflow.search_traces(run_id=result.run_id, return_type="list")
    return sorted(trace.info.tags["mlflow.eval.requestId"] for trace in traces)


def test_all_content_is_loaded(journal):
    result = EvaluationResult.load(journal)

    assert [row.number for row in result.rows] == [0, 1, 2, 3]
    row = result.rows[2]
    assert row.record.expected_retrieved_context == RECORDS[2]["expected_retrieved_context"]
    assert row.record.metadata == {"asked_on": date(2026, 1, 3)}
    assert isinstance(row.outcome.response, AIMessage)
    assert row.outcome.response.text == "answer 2"
    assert row.outcome.retrieved_context == [{"doc_uri": "2.md", "content": "answer 2"}]
    assert (row.outcome.input_tokens, row.outcome.output_tokens) == (5, 2)
    assert [span.kind for span in row.run.spans].count("RETRIEVER") == 1
    assert {span.parent_id for span in row.run.spans[1:]} <= {s.run_id for s in row.run.spans}
    [retriever] = [span for span in row.run.spans if span.kind == "RETRIEVER"]
    assert retriever.outputs[0].metadata == {"source": "2.md"}
    verdict = next(a for a in row.assessments if a.name == "groundedness")
    assert (verdict.value, verdict.rationale, verdict.source) == ("yes", "as asked", "LLM_JUDGE")
    assert verdict.usage.calls == 1
    [failure] = result.failures
    assert (failure.record.request, failure.outcome.error) == (
        FAILING,
        "ValueError: no answer to this one",
    )
    assert result.metrics["response/llm_judged/groundedness/percentage"] == 1.0
    assert "incomplete" in repr(result)


def test_the_tokens_of_an_earlier_version_count_for_a_budget(journal):
    found = {used.model: used for used in Journal(journal).usage()}

    # Three rows were answered. The judge reports no tokens.
    assert found.pop("")[1:4] == (15, 0, 6)
    assert all(sum(used[1:4]) == 0 for used in found.values())


def test_an_evaluation_is_resumed_without_invoking_answered_rows_again(journal):
    invoked = []

    def model(question):
        invoked.append(question)
        return f"answer {question.split()[-1]}"

    result = evaluate(
        RunnableLambda(model),
        RECORDS,
        judge=make_judge(),
        evaluator_config=CONFIG,
        resume=journal,
        options=EvaluationOptions(allow_changes=True),
    )

    assert sorted(invoked) == ["question 4", "question 5"]
    assert [len(row.assessments) > 3 for row in result.rows] == [n != 1 for n in range(6)]
    assert result.rows[LAST_ANSWERED].outcome.response.text == f"answer {LAST_ANSWERED}"
    assert request_ids_in_mlflow(result) == [f"r{n}" for n in range(6)]
    assert result.pending_rows == 0


def test_an_evaluation_is_written_to_mlflow(journal):
    assert main(["sync", str(journal)]) == 0

    result = EvaluationResult.load(journal)
    assert result.pending_rows == 0
    # The row that was being scored when the process died is not complete.
    assert request_ids_in_mlflow(result) == ["r0", "r1", "r2"]
    run = mlflow.get_run(result.run_id)
    assert (run.info.run_name, run.info.status) == ("stored", "KILLED")


def test_a_callback_is_written_to_mlflow_and_not_resumed(callback_journal):
    with pytest.raises(errors.JournalError, match="a callback captured its rows"):
        evaluate(RunnableLambda(str.upper), RECORDS, resume=callback_journal)

    assert main(["sync", str(callback_journal)]) == 0
    result = EvaluationResult.load(callback_journal)
    assert request_ids_in_mlflow(result) == sorted(
        ["r0", "r0#2", result.unmatched[0].record.request_id]
    )
    assert result.rows[0].run.tags == ("live",)


def test_a_journal_is_found_by_its_run_before_and_after_migration(journal):
    with contextlib.closing(sqlite3.connect(journal)) as database:
        [(version,)] = database.execute("PRAGMA user_version")
        table = "facts" if version == 1 else "manifest"
        database.execute(f"INSERT OR REPLACE INTO {table} VALUES ('run_id', '\"abc123\"')")
        database.commit()

    for _ in range(2):
        assert EvaluationResult.load("abc123").run_id == "abc123"
    with contextlib.closing(sqlite3.connect(journal)) as database:
        assert list(database.execute("PRAGMA user_version")) == [(schema.VERSION,)]


def test_a_failed_migration_leaves_the_file_as_it_was(monkeypatch):
    path = copy_journal("v1.sqlite")

    def fail(database):
        database.execute("DELETE FROM answers")
        raise sqlite3.OperationalError("disk full")

    with monkeypatch.context() as patch:
        patch.setitem(schema._MIGRATIONS, 1, fail)
        with pytest.raises(errors.JournalError, match="disk full"):
            EvaluationResult.load(path)

    assert len(EvaluationResult.load(path).rows) == 4


def test_a_journal_that_another_process_runs_is_not_migrated():
    path = copy_journal("v1.sqlite")

    with schema.locked(path), pytest.raises(errors.JournalError, match="another process"):
        EvaluationResult.load(path)
