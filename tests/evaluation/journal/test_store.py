"""The journal: what is saved is there, whoever reads it, however the writer ended."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from dataclasses import make_dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from uuid import uuid4

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from pydantic import BaseModel, ConfigDict, SecretStr

from langchain_dbx_eval import EvalRecord, errors
from langchain_dbx_eval.evaluation.capture.recorder import CapturedRun, Span
from langchain_dbx_eval.evaluation.journal.codec import dump, load, storable
from langchain_dbx_eval.evaluation.journal.rows import Answer, RowKey
from langchain_dbx_eval.evaluation.journal.store import FAILED, SCORED, UNWRITTEN, Journal
from langchain_dbx_eval.scoring import Assessment, JudgeUsage, Outcome, Skip


def answer(text="yes", **outcome):
    return Answer(record=EvalRecord(request="q"), outcome=Outcome(response=text, **outcome))


@pytest.fixture
def journal():
    return Journal.create({"scorers": [{"column": "metric/a"}, {"column": "metric/b"}]})


class Weather(BaseModel):
    city: str
    key: SecretStr


class Holder(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    held: object


class Silent:
    def __str__(self):
        raise RuntimeError("no")


def users_outcome():
    """A dataclass that has the name of one of ours."""
    return make_dataclass("Outcome", ["mine"])(3)


class TestValues:
    @pytest.mark.parametrize(
        "value",
        [
            None,
            "text 😀 \x00",
            "lone \udc80 surrogate",
            10**30,
            [1, 2.5, {"a": [None, True]}],
            AIMessage(
                "hi",
                usage_metadata={"input_tokens": 1, "output_tokens": 1, "total_tokens": 2},
            ),
            AIMessage("", tool_calls=[{"name": "f", "args": {"x": 1}, "id": "1"}]),
            {"messages": [HumanMessage("q"), ToolMessage("r", tool_call_id="1")]},
            [Document("text", metadata={"source": "a.md"}, id="7")],
            datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2))),
            date(2026, 1, 1),
            uuid4(),
            {"$dbx_eval": "unknown", "value": 1},
            {"$dbx_eval": 1},
            Assessment(name="a", column="metric/a", value=0.5, usage=JudgeUsage(calls=2)),
            Skip("a", "nothing to judge", "metric/a"),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_comes_back_as_it_was(self, value):
        assert load(dump(value)) == value

    def test_a_captured_call_comes_back_as_it_was(self):
        root = Span(
            run_id=uuid4(), parent_id=None, kind="CHAIN", name="c", inputs={"q": 1}, start_ns=5
        )
        run = CapturedRun((root,), {"request_id": "r"})

        assert load(dump(run)) == run

    @pytest.mark.parametrize(
        ("value", "plain"),
        [
            (Weather(city="Paris", key=SecretStr("hush")), {"city": "Paris", "key": "**********"}),
            (np.float64(0.5), 0.5),
            (np.array([1, 2]), [1, 2]),
            ({1: "a", (2, 3): "b"}, {"1": "a", "(2, 3)": "b"}),
            ({"b", "a"}, ["a", "b"]),
            (Decimal("1.5"), "1.5"),
            ((1, 2), [1, 2]),
            (Holder(held=Decimal("1.5")), {"held": "1.5"}),
            (Holder(held=ValueError("v")), {"held": "v"}),
            ([Silent()], [f"<{__name__}.Silent, which cannot be shown>"]),
            (
                Holder(held=Silent()),
                {"held": f"<{__name__}.Silent, which cannot be shown>"},
            ),
            (users_outcome(), {"mine": 3}),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_what_json_cannot_say_is_said_plainly(self, value, plain):
        assert storable(value) == plain

    def test_a_value_inside_itself_ends_somewhere(self):
        loop: list[object] = []
        loop.append(loop)

        assert isinstance(storable(loop), list)


class TestRows:
    def test_a_row_is_read_as_it_was_saved(self, journal):
        saved = Answer(
            record=EvalRecord(request={"messages": [{"role": "user", "content": "q"}]}),
            outcome=Outcome(response=AIMessage("a"), latency_seconds=0.5, input_tokens=3),
            matched=False,
        )
        journal.save_answer(RowKey(0), "key", saved)
        journal.save_scores(RowKey(0), {"metric/a": [Assessment(name="a", column="metric/a")]})

        [row] = journal.rows()

        assert (row.record, row.outcome, row.matched) == (saved.record, saved.outcome, False)
        assert [a.name for a in row.assessments] == ["a"]

    def test_scores_stand_in_the_scorers_order(self, journal):
        journal.save_answer(RowKey(0), "key", answer())
        for name in ("b", "a"):
            said = [Assessment(name=name, column=f"metric/{name}")]
            journal.save_scores(RowKey(0), {f"metric/{name}": said})

        assert [a.name for a in journal.row(RowKey(0)).assessments] == ["a", "b"]

    def test_rows_come_in_order_however_many_there_are(self, journal):
        places = [RowKey(n, repetition) for n in range(301) for repetition in (1, 2)]
        for place in reversed(places):
            journal.save_answer(place, "key", answer())

        assert [row.place for row in journal.rows()] == places
        assert journal.places() == places

    def test_a_row_is_saved_once(self, journal):
        journal.save_answer(RowKey(0), "key", answer())
        with pytest.raises(errors.JournalError):
            journal.save_answer(RowKey(0), "key", answer("another"))

        assert journal.row(RowKey(0)).outcome.response == "yes"

    def test_conditions_tell_rows_apart(self, journal):
        journal.save_answer(RowKey(0), "key", answer())
        journal.save_answer(RowKey(1), "key", answer(None, error="ValueError: no"))
        journal.mark_scored(RowKey(0))
        journal.mark_scored(RowKey(1))
        journal.mark_written({RowKey(0): "tr-1"})

        assert journal.places(FAILED) == [RowKey(1)]
        assert journal.places(UNWRITTEN) == [RowKey(1)]
        assert journal.count(SCORED) == 2

    def test_many_threads_write_at_once(self, journal):
        def write(first):
            for number in range(first, first + 50):
                journal.save_answer(RowKey(number), "key", answer())
                journal.save_scores(RowKey(number), {"metric/a": []})
                journal.mark_scored(RowKey(number))

        threads = [threading.Thread(target=write, args=(n * 50,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert journal.count(SCORED) == 400


class TestFinding:
    def test_it_is_found_by_path_by_its_own_id_and_by_the_mlflow_run(self, journal):
        journal.note(run_id="abc123")
        Journal.create({}).note(run_id="another")

        for reference in (journal.path, str(journal.path), journal.evaluation_id, "abc123"):
            assert Journal.find(reference).path == journal.path

    def test_an_unknown_one_is_not_found(self, journal):
        with pytest.raises(errors.NotFoundError, match="DBX_EVAL_HOME"):
            Journal.find("no-such-run")

    def test_a_file_of_another_kind_is_no_journal(self, tmp_path):
        path = tmp_path / "notes.txt"
        path.write_text("shopping list" * 100)

        with pytest.raises(errors.JournalError, match="is no journal"):
            Journal.find(path)

    def test_a_journal_of_another_version_is_not_read(self, journal):
        with sqlite3.connect(journal.path) as database:
            database.execute("PRAGMA user_version = 99")

        with pytest.raises(errors.JournalError, match="version 99"):
            Journal.find(journal.path)

    def test_a_broken_file_in_the_folder_does_not_hide_the_others(self, journal):
        journal.note(run_id="abc123")
        (journal.path.parent / "zzz.sqlite").write_text("broken" * 1000)

        assert Journal.find("abc123").path == journal.path

    def test_a_folder_that_cannot_be_written_to_is_told(self, tmp_path, monkeypatch):
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("DBX_EVAL_HOME", str(tmp_path / "file"))

        with pytest.raises(errors.JournalError, match="DBX_EVAL_HOME"):
            Journal.create({})

    @pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
    def test_nobody_else_on_the_machine_reads_it(self, journal):
        assert stat.S_IMODE(journal.path.parent.stat().st_mode) == 0o700

    def test_only_one_process_goes_on_with_it(self, journal):
        with journal.claimed():
            other = Journal.find(journal.path)
            with pytest.raises(errors.JournalError, match="another process"), other.claimed():
                pass
        with other.claimed():
            pass
