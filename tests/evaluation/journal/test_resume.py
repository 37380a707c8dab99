"""Going on with an evaluation: what is kept, what is refused, what is done again."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections import Counter

import pytest
from langchain_core.runnables import RunnableLambda

from langchain_dbx_eval import EvaluationCallbackHandler, EvaluationResult, errors, evaluate, scorer
from langchain_dbx_eval._internal.paths import journals_root
from langchain_dbx_eval.evaluation.journal.rows import RowKey
from langchain_dbx_eval.evaluation.journal.store import SCORED, Journal
from langchain_dbx_eval.evaluation.tracking.writer import MlflowWriter
from langchain_dbx_eval.scoring import ExactMatch
from tests.evaluation.questions import RECORDS

pytestmark = pytest.mark.usefixtures("mlflow_store")


heard = threading.Event()


class Hearing(logging.Handler):
    """Knows when the evaluation has heard a signal: it says so."""

    def emit(self, record):
        heard.set()


@pytest.fixture(autouse=True)
def _hearing():
    logger = logging.getLogger("langchain_dbx_eval.evaluation.run.interruption")
    handler = Hearing()
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)


class Chain:
    """Answers, counts, and may send this process a signal at one of the questions."""

    def __init__(self, at: str | None = None, number: int = signal.SIGINT, times: int = 1):
        self.at, self.number, self.times = at, number, times
        self.asked: Counter[str] = Counter()

    def __call__(self, request):
        text = request["messages"][-1]["content"]
        self.asked[text] += 1
        if text == self.at:
            self.at = None
            heard.clear()
            for _ in range(self.times):
                os.kill(os.getpid(), self.number)
                # The main thread hears of it when it next runs.
                heard.wait(10)
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
    def test_once_saves_what_is_in_flight_and_says_how_to_go_on(self):
        chain = Chain(at="question 2")
        with pytest.raises(KeyboardInterrupt, match="rows are done") as told:
            evaluate(chain, RECORDS, max_concurrency=2)

        assert f"resume={the_journal().evaluation_id!r}" in str(told.value)
        done = the_journal().places(SCORED)
        assert {f"question {place.number}" for place in done} == set(chain.asked)
        assert 3 <= len(done) < 6

    def test_what_was_done_is_in_mlflow_and_the_run_is_killed(self, mlflow_store):
        import mlflow

        stopped_after("question 2")
        result = EvaluationResult.load(the_journal().path)
        traces = mlflow.search_traces(run_id=result.run_id, return_type="list")

        assert len(traces) == len(result.rows) == 3
        assert mlflow.get_run(result.run_id).info.status == "KILLED"

    def test_twice_stops_at_once(self):
        chain = Chain(at="question 1", times=2)
        slow = threading.Event()

        def never(request):
            chain(request)
            slow.wait(30)

        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt, match="Stopped at once") as told:
            evaluate(never, RECORDS, max_concurrency=2)
        slow.set()
        assert time.monotonic() - began < 20
        assert f"resume={the_journal().evaluation_id!r}" in str(told.value)

    def test_once_more_while_mlflow_is_slow_says_how_to_go_on_too(self, monkeypatch):
        def slow(self, *, complete):
            raise KeyboardInterrupt

        monkeypatch.setattr(MlflowWriter, "flush", slow)
        with pytest.raises(KeyboardInterrupt, match=r"3 of 6 rows are done.*resume="):
            evaluate(Chain(at="question 2"), RECORDS, max_concurrency=1)

    def test_what_there_is_says_that_it_is_not_all(self):
        stopped_after("question 2")
        result = EvaluationResult.load(the_journal().path)

        assert f"3 rows, 0 failed, run_id={result.run_id!r}) not at its end" in repr(result)
        assert f"resume={result.run_id!r}" in repr(result)

    def test_sigterm_ends_the_process_in_good_order(self):
        chain = Chain(at="question 2", number=signal.SIGTERM)
        with pytest.raises(SystemExit) as ended:
            evaluate(chain, RECORDS, max_concurrency=1)

        assert ended.value.code == 128 + signal.SIGTERM
        assert the_journal().count(SCORED) == 3

    def test_the_signals_are_whose_they_were_afterwards(self):
        before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
        stopped_after("question 2")

        assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == before

    @pytest.mark.parametrize("times", [1, 2])
    def test_who_listens_for_ctrl_c_otherwise_hears_the_second(self, times):
        heard_by_spark = []

        def sparks(number, frame):
            heard_by_spark.append(number)
            raise KeyboardInterrupt

        before = signal.signal(signal.SIGINT, sparks)
        try:
            with pytest.raises(KeyboardInterrupt, match="resume="):
                evaluate(Chain(at="question 2", times=times), RECORDS, max_concurrency=1)
            assert signal.getsignal(signal.SIGINT) is sparks
        finally:
            signal.signal(signal.SIGINT, before)
        assert heard_by_spark == [signal.SIGINT] * (times - 1)

    def test_a_users_own_handler_is_left_alone(self, monkeypatch):
        taken = []
        before = signal.signal(signal.SIGTERM, lambda *args: (taken.append(1), heard.set()))
        try:
            result = evaluate(Chain(at="question 2", number=signal.SIGTERM), RECORDS)
        finally:
            signal.signal(signal.SIGTERM, before)
        assert (len(result.rows), taken) == (6, [1])


class TestResume:
    def test_only_what_is_missing_is_asked(self):
        first = stopped_after("question 2")
        second = Chain()
        result = evaluate(second, RECORDS, resume=the_journal().path)

        assert not first.asked.keys() & second.asked.keys()
        assert [row.number for row in result.rows] == list(range(6))
        assert result.metrics["response/ground_truth/exact_match/average"] == 1.0

    def test_records_that_come_in_another_order_are_not_asked_again(self):
        done = evaluate(Chain(), RECORDS, repeat=2)
        chain = Chain()
        again = evaluate(chain, RECORDS[::-1], repeat=2, resume=done.run_id)

        assert not chain.asked
        assert [(row.number, row.repetition) for row in again.rows] == [
            (n, r) for n in range(6) for r in (1, 2)
        ]
        for row, record in zip(again.rows[::2], RECORDS[::-1], strict=True):
            assert (row.record.request_id, row.outcome.response) == (
                record["request_id"],
                record["expected_response"],
            )
        assert again.metrics == pytest.approx(done.metrics)

    def test_it_goes_on_in_the_same_mlflow_run(self):
        stopped_after("question 2")
        run_id = EvaluationResult.load(the_journal().path).run_id

        assert evaluate(Chain(), RECORDS, resume=run_id).run_id == run_id

    def test_it_does_so_whatever_experiment_is_current_now(self):
        import mlflow

        mlflow.set_experiment("production")
        stopped_after("question 2")
        run_id = EvaluationResult.load(the_journal().path).run_id
        mlflow.set_experiment("another")
        result = evaluate(Chain(), RECORDS, resume=run_id)

        assert result.run_id == run_id
        where = {"locations": [result.experiment_id], "run_id": run_id}
        assert len(mlflow.search_traces(**where, return_type="list")) == 6
        assert mlflow.get_run(run_id).info.status == "FINISHED"
        assert not mlflow.search_runs(experiment_names=["another"], output_format="list")

    def test_calls_that_a_callback_heard_are_not_asked_again(self):
        handler = EvaluationCallbackHandler(RECORDS)
        chain = RunnableLambda(str.upper)
        chain.batch(["question 0", "question 0", "other"], config={"callbacks": [handler]})
        heard = handler.result()

        for model, allow in ((None, False), (chain, False), (chain, True)):
            with pytest.raises(errors.JournalError, match="calls that a callback heard"):
                evaluate(model, RECORDS, resume=heard.run_id, allow_changes=allow)
        assert len(EvaluationResult.load(heard.run_id).rows) == 3

    def test_a_journal_whose_process_ended_at_once_is_told(self):
        with pytest.raises(errors.JournalError, match="ended before it began"):
            evaluate(Chain(), RECORDS, resume=Journal.create({}).path)

    def test_what_another_process_is_at_work_on_is_not_changed(self):
        done = evaluate(Chain(), RECORDS, scorers=[length])
        journal = Journal.find(done.journal)
        options = {"resume": done.run_id, "allow_changes": True}
        with journal.claimed(), pytest.raises(errors.JournalError, match="another process"):
            evaluate(Chain(), RECORDS, scorers=[length_in_words], **options)

        assert journal.count(SCORED) == 6
        assert (
            list(EvaluationResult.load(done.run_id).tables["eval_results"]["metric/length"])
            == [len("answer 0")] * 6
        )

    def test_what_is_changed_and_stopped_is_not_at_its_end(self):
        done = evaluate(Chain(), RECORDS[:3])
        stopped_after("question 4", resume=done.run_id, allow_changes=True)

        assert not the_journal().facts["complete"]

    def test_a_finished_evaluation_asks_nothing_again(self):
        done = evaluate(Chain(), RECORDS)
        chain = Chain()
        again = evaluate(chain, RECORDS, resume=done.run_id)

        assert not chain.asked
        assert again.metrics == done.metrics

    def test_a_row_that_was_answered_and_not_scored_is_only_scored(self):
        done = evaluate(Chain(), RECORDS)
        journal = Journal.find(done.journal)
        journal.rearrange({}, [RowKey(5)])
        journal.forget_scores([ExactMatch().column])
        chain = Chain()
        again = evaluate(chain, RECORDS, resume=done.run_id)

        assert list(chain.asked) == ["question 5"]
        assert list(again.tables["eval_results"][ExactMatch().column]) == [1.0] * 6

    def test_an_unknown_evaluation_is_told(self):
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

    def test_another_dataset_is_refused(self, journal):
        with pytest.raises(errors.JournalError, match=r"changed since then: dataset\b.*allow_ch"):
            evaluate(Chain(), RECORDS[:5], scorers=[length], resume=journal)

    def test_another_chain_is_refused(self, journal):
        with pytest.raises(errors.JournalError, match="changed since then: model"):
            evaluate(lambda request: "x", RECORDS, scorers=[length], resume=journal)

    @pytest.mark.parametrize("scorers", [[length_in_words], [length, ExactMatch()], []])
    def test_other_scorers_are_refused(self, journal, scorers):
        with pytest.raises(errors.JournalError, match="changed since then: scorers"):
            evaluate(Chain(), RECORDS, scorers=scorers, resume=journal)

    def test_another_repeat_is_refused(self, journal):
        with pytest.raises(errors.JournalError, match="changed since then: repeat"):
            evaluate(Chain(), RECORDS, scorers=[length], resume=journal, repeat=2)

    def test_where_allowed_a_changed_scorer_scores_all_rows_again(self, journal):
        chain = Chain()
        options = {"resume": journal, "allow_changes": True}
        result = evaluate(chain, RECORDS, scorers=[length_in_words, ExactMatch()], **options)

        assert len(chain.asked) == 3
        table = result.tables["eval_results"]
        assert list(table["metric/length"]) == [2] * 6
        assert list(table["response/ground_truth/exact_match"]) == [1.0] * 6

    def test_where_allowed_records_that_have_changed_are_asked_and_others_kept(self, journal):
        changed = [RECORDS[0], {"request": "question 77"}, *RECORDS[2:5]]
        chain = Chain()
        options = {"resume": journal, "allow_changes": True}
        result = evaluate(chain, changed, scorers=[length], **options)

        assert set(chain.asked) == {"question 77", "question 3", "question 4"}
        assert [row.outcome.response for row in result.rows] == [
            f"answer {n}" for n in (0, 77, 2, 3, 4)
        ]

    def test_where_allowed_answers_are_kept_wherever_they_stand_now(self, journal):
        changed = [{"request": "question 77"}, *RECORDS]
        chain = Chain()
        result = evaluate(chain, changed, scorers=[length], resume=journal, allow_changes=True)

        assert set(chain.asked) == {"question 77", "question 3", "question 4", "question 5"}
        assert [row.outcome.response for row in result.rows] == [
            f"answer {n}" for n in (77, 0, 1, 2, 3, 4, 5)
        ]
        assert list(result.tables["eval_results"]["metric/length"]) == [9, *[8] * 6]

    def test_a_row_that_an_older_result_had_is_told_to_be_gone(self, journal):
        older = EvaluationResult.load(journal)
        assert len(older.rows) == 3
        evaluate(Chain(), RECORDS[:2], scorers=[length], resume=journal, allow_changes=True)

        with pytest.raises(errors.JournalError, match="Load its result again"):
            older.rows[2]

    def test_where_allowed_an_answer_is_scored_again_by_its_corrected_record(self):
        wrong = [{**record, "expected_response": "wrong"} for record in RECORDS[:2]]
        done = evaluate(Chain(), [*wrong, *RECORDS[2:]])
        assert done.metrics["response/ground_truth/exact_match/average"] == pytest.approx(4 / 6)
        chain = Chain()
        again = evaluate(chain, RECORDS, resume=done.run_id, allow_changes=True)

        assert not chain.asked
        assert again.metrics["response/ground_truth/exact_match/average"] == 1.0
        assert list(again.tables["eval_results"]["expected_response"]) == [
            f"answer {n}" for n in range(6)
        ]

    def test_answers_of_the_data_that_are_new_get_traces_of_their_own(self):
        import mlflow

        data = [{"request": "a", "response": "A"}, {"request": "b", "response": "B"}]
        done = evaluate(data=data)
        data = [{"request": "new", "response": "N"}, *data]
        again = evaluate(data=data, resume=done.run_id, allow_changes=True)

        traces = mlflow.search_traces(run_id=done.run_id, return_type="list")
        assert sorted(t.data.spans[0].outputs for t in traces) == ["A", "B", "N"]
        assert len(set(again.trace_ids)) == 3
