"""Resuming an evaluation: what is kept, what is rejected, what is repeated."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sqlite3
import threading
from collections import Counter

import pytest
from langchain_core.runnables import RunnableLambda

from langchain_dbx_eval import EvaluationCallbackHandler, EvaluationResult, errors, evaluate, scorer
from langchain_dbx_eval._internal.paths import journals_root
from langchain_dbx_eval.evaluation import EvaluationOptions
from langchain_dbx_eval.evaluation.journal.rows import RowKey
from langchain_dbx_eval.evaluation.journal.store import SCORED, Journal
from langchain_dbx_eval.evaluation.tracking.writer import MlflowWriter
from langchain_dbx_eval.scoring import ExactMatch
from tests.evaluation.questions import RECORDS

pytestmark = pytest.mark.usefixtures("mlflow_store")


ALLOW_CHANGES = EvaluationOptions(allow_changes=True)
signal_handled = threading.Event()


class SignalLog(logging.Handler):
    """Sets `signal_handled` when the evaluation logs that it handles a signal."""

    def emit(self, record):
        signal_handled.set()


@pytest.fixture(autouse=True)
def _signal_log():
    logger = logging.getLogger("langchain_dbx_eval.evaluation.run.shutdown")
    handler = SignalLog()
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)


class Chain:
    """Answers, counts, and may send this process a signal at one of the requests.

    The main thread handles the signal when it runs next. The requests after that one are not
    answered before, so that a signal cannot come too late.
    """

    def __init__(self, at: str | None = None, number: int = signal.SIGINT, times: int = 1):
        self.at, self.number, self.times = at, number, times
        self.invoked: Counter[str] = Counter()
        signal_handled.clear()

    def __call__(self, request):
        text = request["messages"][-1]["content"]
        self.invoked[text] += 1
        if text == self.at:
            for _ in range(self.times):
                os.kill(os.getpid(), self.number)
                signal_handled.wait(60)
        elif self.at is not None and text > self.at:
            signal_handled.wait(60)
        return text.replace("question", "answer")


def the_journal() -> Journal:
    [path] = journals_root().glob("*.sqlite")
    return Journal.find(path)


def stopped_after(question: str, **options) -> Chain:
    chain = Chain(at=question)
    with pytest.raises(KeyboardInterrupt):
        evaluate(chain, RECORDS, max_concurrency=1, **options)
    return chain


class TestCtrlC:
    def test_once_saves_the_rows_in_flight_and_shows_how_to_continue(self):
        chain = Chain(at="question 2")
        with pytest.raises(KeyboardInterrupt, match="rows are finished") as raised:
            evaluate(chain, RECORDS, max_concurrency=2)

        assert f"resume={the_journal().evaluation_id!r}" in str(raised.value)
        done = the_journal().row_keys(SCORED)
        assert {f"question {key.number}" for key in done} == set(chain.invoked)
        assert 3 <= len(done) < 6

    def test_finished_rows_are_in_mlflow_and_the_run_is_killed(self, mlflow_store):
        import mlflow

        stopped_after("question 2")
        result = EvaluationResult.load(the_journal().path)
        traces = mlflow.search_traces(run_id=result.run_id, return_type="list")

        assert len(traces) == len(result.rows) == 3
        assert mlflow.get_run(result.run_id).info.status == "KILLED"

    def test_twice_stops_at_once(self):
        chain = Chain(at="question 1", times=2)
        stopped = threading.Event()

        def blocked(request):
            chain(request)
            stopped.wait(60)

        with pytest.raises(KeyboardInterrupt, match="Stopped at once") as raised:
            evaluate(blocked, RECORDS, max_concurrency=2)
        assert not the_journal().count(SCORED)
        stopped.set()
        assert f"resume={the_journal().evaluation_id!r}" in str(raised.value)

    def test_twice_while_mlflow_is_slow_shows_how_to_continue(self, monkeypatch):
        def interrupted(self, *, complete):
            raise KeyboardInterrupt

        monkeypatch.setattr(MlflowWriter, "flush", interrupted)
        with pytest.raises(KeyboardInterrupt, match=r"3 of 6 rows are finished.*resume="):
            evaluate(Chain(at="question 2"), RECORDS, max_concurrency=1)

    def test_the_result_of_a_stopped_evaluation_is_shown_as_incomplete(self):
        stopped_after("question 2")
        result = EvaluationResult.load(the_journal().path)

        assert f"3 rows, 0 failed, run_id={result.run_id!r}) incomplete" in repr(result)
        assert f"resume={result.run_id!r}" in repr(result)

    def test_sigterm_ends_the_process_gracefully(self):
        chain = Chain(at="question 2", number=signal.SIGTERM)
        with pytest.raises(SystemExit) as ended:
            evaluate(chain, RECORDS, max_concurrency=1)

        assert ended.value.code == 128 + signal.SIGTERM
        assert the_journal().count(SCORED) == 3

    def test_the_previous_signal_handlers_are_restored(self):
        before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
        stopped_after("question 2")

        assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == before

    @pytest.mark.parametrize("times", [1, 2])
    def test_a_previous_handler_of_ctrl_c_is_called_at_the_second_one(self, times):
        handled = []

        def spark_handler(number, frame):
            handled.append(number)
            raise KeyboardInterrupt

        before = signal.signal(signal.SIGINT, spark_handler)
        try:
            with pytest.raises(KeyboardInterrupt, match="resume="):
                evaluate(Chain(at="question 2", times=times), RECORDS, max_concurrency=1)
            assert signal.getsignal(signal.SIGINT) is spark_handler
        finally:
            signal.signal(signal.SIGINT, before)
        assert handled == [signal.SIGINT] * (times - 1)

    def test_a_users_handler_of_sigterm_is_kept(self, monkeypatch):
        handled = []

        def handler(*args):
            handled.append(1)
            signal_handled.set()

        before = signal.signal(signal.SIGTERM, handler)
        try:
            result = evaluate(Chain(at="question 2", number=signal.SIGTERM), RECORDS)
        finally:
            signal.signal(signal.SIGTERM, before)
        assert (len(result.rows), handled) == (6, [1])


class TestResume:
    def test_only_missing_rows_are_invoked(self):
        first = stopped_after("question 2")
        second = Chain()
        result = evaluate(second, RECORDS, resume=the_journal().path)

        assert not first.invoked.keys() & second.invoked.keys()
        assert [row.number for row in result.rows] == list(range(6))
        assert result.metrics["response/ground_truth/exact_match/average"] == 1.0

    def test_records_in_another_order_are_not_invoked_again(self):
        done = evaluate(Chain(), RECORDS, repeat=2)
        chain = Chain()
        again = evaluate(chain, RECORDS[::-1], repeat=2, resume=done.run_id)

        assert not chain.invoked
        assert [(row.number, row.repetition) for row in again.rows] == [
            (n, r) for n in range(6) for r in (1, 2)
        ]
        for row, record in zip(again.rows[::2], RECORDS[::-1], strict=True):
            assert (row.record.request_id, row.outcome.response) == (
                record["request_id"],
                record["expected_response"],
            )
        assert again.metrics == pytest.approx(done.metrics)

    def test_it_continues_in_the_same_mlflow_run(self):
        stopped_after("question 2")
        run_id = EvaluationResult.load(the_journal().path).run_id

        assert evaluate(Chain(), RECORDS, resume=run_id).run_id == run_id

    def test_it_continues_in_the_same_run_if_another_experiment_is_current(self):
        import mlflow

        mlflow.set_experiment("production")
        stopped_after("question 2")
        run_id = EvaluationResult.load(the_journal().path).run_id
        mlflow.set_experiment("another")
        result = evaluate(Chain(), RECORDS, resume=run_id)

        assert result.run_id == run_id
        query = {"locations": [result.experiment_id], "run_id": run_id}
        assert len(mlflow.search_traces(**query, return_type="list")) == 6
        assert mlflow.get_run(run_id).info.status == "FINISHED"
        assert not mlflow.search_runs(experiment_names=["another"], output_format="list")

    def test_the_calls_of_a_callback_cannot_be_resumed(self):
        handler = EvaluationCallbackHandler(RECORDS)
        chain = RunnableLambda(lambda text: text.upper())
        chain.batch(["question 0", "question 0", "other"], config={"callbacks": [handler]})
        captured = handler.result()

        for model, allow in ((None, False), (chain, False), (chain, True)):
            with pytest.raises(errors.JournalError, match="a callback captured its rows"):
                evaluate(
                    model,
                    RECORDS,
                    resume=captured.run_id,
                    options=EvaluationOptions(allow_changes=allow),
                )
        assert len(EvaluationResult.load(captured.run_id).rows) == 3

    def test_a_journal_without_a_manifest_cannot_be_resumed(self):
        path = evaluate(Chain(), RECORDS[:1]).journal
        with contextlib.closing(sqlite3.connect(path)) as database:
            database.execute("DELETE FROM manifest")
            database.commit()
        with pytest.raises(errors.JournalError, match="ended before it started"):
            evaluate(Chain(), RECORDS, resume=path)

    def test_an_evaluation_that_another_process_runs_is_not_changed(self):
        done = evaluate(Chain(), RECORDS, scorers=[length])
        journal = Journal.find(done.journal)
        options = {"resume": done.run_id, "options": ALLOW_CHANGES}
        with journal.locked(), pytest.raises(errors.JournalError, match="another process"):
            evaluate(Chain(), RECORDS, scorers=[length_in_words], **options)

        assert journal.count(SCORED) == 6
        assert (
            list(EvaluationResult.load(done.run_id).tables["eval_results"]["metric/length"])
            == [len("answer 0")] * 6
        )

    def test_an_evaluation_that_is_changed_and_stopped_is_incomplete(self):
        done = evaluate(Chain(), RECORDS[:3])
        stopped_after("question 4", resume=done.run_id, options=ALLOW_CHANGES)

        assert not the_journal().manifest.complete

    def test_a_finished_evaluation_invokes_nothing_again(self):
        done = evaluate(Chain(), RECORDS)
        chain = Chain()
        again = evaluate(chain, RECORDS, resume=done.run_id)

        assert not chain.invoked
        assert again.metrics == done.metrics

    def test_an_answered_row_without_scores_is_only_scored(self):
        done = evaluate(Chain(), RECORDS)
        journal = Journal.find(done.journal)
        journal.reassign({}, [RowKey(5)])
        journal.delete_scores([ExactMatch().column])
        chain = Chain()
        again = evaluate(chain, RECORDS, resume=done.run_id)

        assert list(chain.invoked) == ["question 5"]
        assert list(again.tables["eval_results"][ExactMatch().column]) == [1.0] * 6

    def test_an_unknown_evaluation_is_an_error(self):
        with pytest.raises(errors.NotFoundError, match="no-such-run"):
            evaluate(Chain(), RECORDS, resume="no-such-run")


@scorer
def length(response):
    return len(response)


@scorer(name="length")
def length_in_words(response):
    return len(response.split())


class TestChanges:
    @pytest.fixture
    def journal(self):
        stopped_after("question 2", scorers=[length])
        return the_journal().path

    def test_another_dataset_is_rejected(self, journal):
        with pytest.raises(
            errors.JournalError, match=r"changed since it started: dataset\b.*allow_"
        ):
            evaluate(Chain(), RECORDS[:5], scorers=[length], resume=journal)

    def test_another_model_is_rejected(self, journal):
        with pytest.raises(errors.JournalError, match="changed since it started: model"):
            evaluate(lambda request: "x", RECORDS, scorers=[length], resume=journal)

    @pytest.mark.parametrize("scorers", [[length_in_words], [length, ExactMatch()], []])
    def test_other_scorers_are_rejected(self, journal, scorers):
        with pytest.raises(errors.JournalError, match="changed since it started: scorers"):
            evaluate(Chain(), RECORDS, scorers=scorers, resume=journal)

    def test_another_repeat_is_rejected(self, journal):
        with pytest.raises(errors.JournalError, match="changed since it started: repeat"):
            evaluate(Chain(), RECORDS, scorers=[length], resume=journal, repeat=2)

    def test_if_allowed_a_changed_scorer_scores_all_rows_again(self, journal):
        chain = Chain()
        options = {"resume": journal, "options": ALLOW_CHANGES}
        result = evaluate(chain, RECORDS, scorers=[length_in_words, ExactMatch()], **options)

        assert len(chain.invoked) == 3
        table = result.tables["eval_results"]
        assert list(table["metric/length"]) == [2] * 6
        assert list(table["response/ground_truth/exact_match"]) == [1.0] * 6

    def test_if_allowed_changed_records_are_invoked_and_others_are_kept(self, journal):
        changed = [RECORDS[0], {"request": "question 77"}, *RECORDS[2:5]]
        chain = Chain()
        options = {"resume": journal, "options": ALLOW_CHANGES}
        result = evaluate(chain, changed, scorers=[length], **options)

        assert set(chain.invoked) == {"question 77", "question 3", "question 4"}
        assert [row.outcome.response for row in result.rows] == [
            f"answer {n}" for n in (0, 77, 2, 3, 4)
        ]

    def test_if_allowed_answers_are_kept_at_any_position(self, journal):
        changed = [{"request": "question 77"}, *RECORDS]
        chain = Chain()
        result = evaluate(chain, changed, scorers=[length], resume=journal, options=ALLOW_CHANGES)

        assert set(chain.invoked) == {"question 77", "question 3", "question 4", "question 5"}
        assert [row.outcome.response for row in result.rows] == [
            f"answer {n}" for n in (77, 0, 1, 2, 3, 4, 5)
        ]
        assert list(result.tables["eval_results"]["metric/length"]) == [9, *[8] * 6]

    def test_a_row_of_an_older_result_that_was_removed_is_an_error(self, journal):
        older = EvaluationResult.load(journal)
        assert len(older.rows) == 3
        evaluate(Chain(), RECORDS[:2], scorers=[length], resume=journal, options=ALLOW_CHANGES)

        with pytest.raises(errors.JournalError, match="Load its result again"):
            older.rows[2]

    def test_if_allowed_an_answer_is_scored_again_with_its_corrected_record(self):
        wrong = [{**record, "expected_response": "wrong"} for record in RECORDS[:2]]
        done = evaluate(Chain(), [*wrong, *RECORDS[2:]])
        assert done.metrics["response/ground_truth/exact_match/average"] == pytest.approx(4 / 6)
        chain = Chain()
        again = evaluate(chain, RECORDS, resume=done.run_id, options=ALLOW_CHANGES)

        assert not chain.invoked
        assert again.metrics["response/ground_truth/exact_match/average"] == 1.0
        assert list(again.tables["eval_results"]["expected_response"]) == [
            f"answer {n}" for n in range(6)
        ]

    def test_new_recorded_answers_get_traces_of_their_own(self):
        import mlflow

        data = [{"request": "a", "response": "A"}, {"request": "b", "response": "B"}]
        done = evaluate(data=data)
        data = [{"request": "new", "response": "N"}, *data]
        again = evaluate(data=data, resume=done.run_id, options=ALLOW_CHANGES)

        traces = mlflow.search_traces(run_id=done.run_id, return_type="list")
        assert sorted(t.data.spans[0].outputs for t in traces) == ["A", "B", "N"]
        assert len(set(again.trace_ids)) == 3
