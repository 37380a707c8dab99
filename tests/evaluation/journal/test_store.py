"""Every process reads the content of a journal as it was saved."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading

import pytest
from langchain_core.messages import AIMessage

from langchain_dbx_eval import EvalRecord, errors
from langchain_dbx_eval.evaluation.journal.manifest import EvaluationManifest
from langchain_dbx_eval.evaluation.journal.rows import Answer, RowKey
from langchain_dbx_eval.evaluation.journal.store import FAILED, SCORED, UNWRITTEN, Journal
from langchain_dbx_eval.scoring import Assessment, ExactMatch, Outcome, TokenF1

COLUMNS = [ExactMatch().column, TokenF1().column]


def create_journal():
    return Journal.create(EvaluationManifest.describe(None, [ExactMatch(), TokenF1()]))


def answer(text="yes", **outcome):
    return Answer(record=EvalRecord(request="q"), outcome=Outcome(response=text, **outcome))


@pytest.fixture
def journal():
    return create_journal()


class TestRows:
    def test_a_row_is_read_as_it_was_saved(self, journal):
        saved = Answer(
            record=EvalRecord(request={"messages": [{"role": "user", "content": "q"}]}),
            outcome=Outcome(response=AIMessage("a"), latency_seconds=0.5, input_tokens=3),
            matched=False,
        )
        journal.save_answer(RowKey(0), saved)
        journal.save_scores(RowKey(0), {COLUMNS[0]: [Assessment(name="a", column=COLUMNS[0])]})

        [row] = journal.rows()

        assert (row.record, row.outcome, row.matched) == (saved.record, saved.outcome, False)
        assert [a.name for a in row.assessments] == ["a"]

    def test_scores_are_in_the_order_of_the_scorers(self, journal):
        journal.save_answer(RowKey(0), answer())
        for column in reversed(COLUMNS):
            journal.save_scores(RowKey(0), {column: [Assessment(name=column, column=column)]})

        assert [a.name for a in journal.row(RowKey(0)).assessments] == COLUMNS

    def test_rows_are_in_order_over_several_pages(self, journal):
        keys = [RowKey(n, repetition) for n in range(301) for repetition in (1, 2)]
        for key in reversed(keys):
            journal.save_answer(key, answer())

        assert [row.key for row in journal.rows()] == keys
        assert journal.row_keys() == keys

    def test_a_page_of_rows_is_read_with_three_queries(self, journal):
        for number in range(200):
            journal.save_answer(RowKey(number), answer())
            journal.save_scores(RowKey(number), {COLUMNS[0]: []}, last=True)
        keys = journal.row_keys()
        queries = []
        journal._database.set_trace_callback(queries.append)

        assert len(list(journal.read_rows(keys))) == 200
        assert len(queries) == 3

    def test_rows_are_read_in_the_order_of_their_keys_without_those_that_do_not_exist(
        self, journal
    ):
        for number in range(3):
            journal.save_answer(RowKey(number), answer())

        keys = [RowKey(2), RowKey(9), RowKey(0)]
        assert [row.key for row in journal.read_rows(keys)] == [RowKey(2), RowKey(0)]

    def test_a_row_is_saved_once(self, journal):
        journal.save_answer(RowKey(0), answer())
        with pytest.raises(errors.JournalError):
            journal.save_answer(RowKey(0), answer("another"))

        assert journal.row(RowKey(0)).outcome.response == "yes"

    def test_conditions_select_rows(self, journal):
        journal.save_answer(RowKey(0), answer())
        journal.save_answer(RowKey(1), answer(None, error="ValueError: no"))
        journal.save_scores(RowKey(0), {}, last=True)
        journal.save_scores(RowKey(1), {}, last=True)
        journal.mark_written({RowKey(0): "tr-1"})

        assert journal.row_keys(FAILED) == [RowKey(1)]
        assert journal.row_keys(UNWRITTEN) == [RowKey(1)]
        assert journal.count(SCORED) == 2

    def test_many_threads_write_at_once(self, journal):
        def write(first):
            for number in range(first, first + 50):
                journal.save_answer(RowKey(number), answer())
                journal.save_scores(RowKey(number), {COLUMNS[0]: []})
                journal.save_scores(RowKey(number), {}, last=True)

        threads = [threading.Thread(target=write, args=(n * 50,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert journal.count(SCORED) == 400


class TestFind:
    def test_a_journal_is_found_by_path_by_evaluation_id_and_by_mlflow_run(self, journal):
        journal.update_manifest(run_id="abc123")
        create_journal().update_manifest(run_id="another")

        for reference in (journal.path, str(journal.path), journal.evaluation_id, "abc123"):
            assert Journal.find(reference).path == journal.path

    def test_an_unknown_evaluation_is_not_found(self, journal):
        with pytest.raises(errors.NotFoundError, match="DBX_EVAL_HOME"):
            Journal.find("no-such-run")

    def test_a_file_of_another_kind_is_rejected(self, tmp_path):
        path = tmp_path / "notes.txt"
        path.write_text("shopping list" * 100)

        with pytest.raises(errors.JournalError, match="is not a journal"):
            Journal.find(path)

    def test_a_journal_of_an_unknown_version_is_rejected(self, journal):
        with sqlite3.connect(journal.path) as database:
            database.execute("PRAGMA user_version = 99")

        with pytest.raises(errors.JournalError, match="version 99"):
            Journal.find(journal.path)

    def test_a_broken_file_in_the_folder_is_skipped(self, journal):
        journal.update_manifest(run_id="abc123")
        (journal.path.parent / "zzz.sqlite").write_text("broken" * 1000)

        assert Journal.find("abc123").path == journal.path

    def test_the_error_for_a_folder_that_cannot_be_written_names_the_variable(
        self, tmp_path, monkeypatch
    ):
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("DBX_EVAL_HOME", str(tmp_path / "file"))

        with pytest.raises(errors.JournalError, match="DBX_EVAL_HOME"):
            create_journal()

    @pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
    def test_other_users_of_the_machine_cannot_read_it(self, journal):
        assert stat.S_IMODE(journal.path.parent.stat().st_mode) == 0o700

    def test_a_locked_journal_cannot_be_locked_again(self, journal):
        with journal.locked():
            other = Journal.find(journal.path)
            with pytest.raises(errors.JournalError, match="another process"), other.locked():
                pass
        with other.locked():
            pass
