"""Concurrent rows: none is lost, whether the endpoint, the model or a timeout fails."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from langchain_core.runnables import RunnableLambda

from langchain_dbx_eval import ChatDatabricks, errors, evaluate
from langchain_dbx_eval._internal import limiter
from langchain_dbx_eval.evaluation.run import scheduler
from tests.evaluation.waiting import wait_until_async
from tests.polling import wait_until

pytestmark = pytest.mark.usefixtures("mlflow_store")


def records(count):
    return [{"request_id": f"r{n}", "request": f"question {n}"} for n in range(count)]


class Gauge:
    """Measures how many threads or tasks are inside at once."""

    def __init__(self):
        self.now = self.max = 0
        self._lock = threading.Lock()

    def __enter__(self):
        with self._lock:
            self.now += 1
            self.max = max(self.max, self.now)

    def __exit__(self, *exc):
        with self._lock:
            self.now -= 1


class TestRowsInFlight:
    @pytest.mark.parametrize("kind", ["sync", "async"])
    def test_max_concurrency_is_reached_and_not_exceeded(self, kind):
        gauge = Gauge()

        def sync(request):
            with gauge:
                wait_until(lambda: gauge.max >= 20)
                time.sleep(0.02)
            return "a"

        async def later(request):
            with gauge:
                await wait_until_async(lambda: gauge.max >= 20)
                await asyncio.sleep(0.02)
            return "a"

        evaluate({"sync": sync, "async": later}[kind], records(60), max_concurrency=20)
        assert gauge.max == 20

    def test_answers_do_not_pile_up_before_slow_scorers(self):
        answers = Counter()

        class Slow:
            name, column = "slow", "metric/slow"

            async def score(self, context):
                answers["max"] = max(answers["max"], answers["now"])
                await asyncio.sleep(0.05)
                answers["now"] -= 1
                return []

        def chain(request):
            answers["now"] += 1
            return "a"

        evaluate(chain, records(40), scorers=[Slow()], max_concurrency=4)
        assert answers["max"] <= 9

    @pytest.mark.parametrize("concurrency", [64, 256])
    def test_no_row_is_lost(self, concurrency, mlflow_store):
        import mlflow

        rows = 300

        async def chain(request):
            await asyncio.sleep(0.01)
            return request["messages"][-1]["content"]

        result = evaluate(chain, records(rows), max_concurrency=concurrency)

        expected = [f"question {n}" for n in range(rows)]
        assert [row.outcome.response for row in result.rows] == expected
        traces = mlflow.search_traces(run_id=result.run_id, return_type="list", max_results=2000)
        request_ids = sorted(t.info.tags["mlflow.eval.requestId"] for t in traces)
        assert request_ids == sorted(f"r{n}" for n in range(rows))

    def test_a_concurrency_of_0_is_an_error(self):
        with pytest.raises(errors.ConfigurationError, match="max_concurrency must be at least 1"):
            evaluate(lambda request: "a", records(1), max_concurrency=0)


class TestRateLimits:
    """429: fewer rows are in flight, and the rejected ones are invoked again."""

    @pytest.mark.parametrize("retries", [0, 2], ids=["without retries", "with retries"])
    def test_every_row_is_answered(self, workspace, retries, monkeypatch):
        monkeypatch.setattr(limiter, "_MIN_PAUSE_S", 0.05)
        # In use, the first row waits for one pause at most while it is alone.
        monkeypatch.setattr(scheduler, "_ALONE_S", 0.05)
        workspace.add_endpoint("chat", lambda messages, temperature: "fine", kind="chat")
        workspace.fail("chat", status=429, times=9, retry_after=0)
        model = ChatDatabricks(model="chat", temperature=0.0, max_retries=retries)

        result = evaluate(model, records(30), max_concurrency=8)

        assert not result.failures
        assert {row.outcome.response.text for row in result.rows} == {"fine"}

    def test_rows_fail_if_the_endpoint_answers_only_429(self, workspace, monkeypatch):
        monkeypatch.setattr(limiter, "_MIN_PAUSE_S", 0.001)
        workspace.add_endpoint("chat", lambda messages: "never", kind="chat")
        workspace.fail("chat", status=429, times=None)

        result = evaluate(ChatDatabricks(model="chat", max_retries=0), records(5))

        assert len(result.failures) == 5
        assert all("RateLimitError" in row.outcome.error for row in result.failures)

    def test_a_429_of_any_client_is_recognized(self, monkeypatch):
        monkeypatch.setattr(limiter, "_MIN_PAUSE_S", 0.001)

        class Response:
            status_code = 429

        class ClientError(Exception):
            response = Response()

        invoked = Counter()

        def chain(request):
            text = request["messages"][-1]["content"]
            invoked[text] += 1
            if invoked[text] < 3:
                try:
                    raise ClientError("slow down")
                except ClientError as error:
                    raise ValueError("the model failed") from error
            return "a"

        assert not evaluate(chain, records(4)).failures
        assert set(invoked.values()) == {3}


class TestFailures:
    def test_only_the_row_that_exceeds_the_timeout_fails(self):
        async def chain(request):
            await asyncio.sleep(60 if request["messages"][-1]["content"] == "question 1" else 0)
            return "a"

        result = evaluate(chain, records(3), timeout=2)

        assert [row.outcome.error for row in result.rows] == [
            None,
            "TimeoutError: no answer within 2 s (timeout=)",
            None,
        ]
        [failed] = result.failures
        assert failed.record.request_id == "r1"
        assert failed.outcome.response is None

    def test_a_thread_that_exceeds_the_timeout_fails_its_row(self):
        ended = threading.Event()
        result = evaluate(lambda request: ended.wait(60), records(1), timeout=0.2)
        ended.set()

        assert "TimeoutError" in result.failures[0].outcome.error

    @pytest.mark.parametrize(
        "exit_",
        [
            lambda: sys.exit(3),
            lambda: (_ for _ in ()).throw(KeyboardInterrupt),
            lambda: (_ for _ in ()).throw(asyncio.CancelledError),
        ],
        ids=["SystemExit", "KeyboardInterrupt", "CancelledError"],
    )
    @pytest.mark.parametrize("kind", ["sync", "async"])
    def test_a_model_that_exits_fails_its_row(self, exit_, kind):
        def sync(request):
            return exit_() if request["messages"][-1]["content"] == "question 1" else "a"

        async def later(request):
            await asyncio.sleep(0)
            return sync(request)

        result = evaluate({"sync": sync, "async": later}[kind], records(3))

        assert [row.outcome.error is None for row in result.rows] == [True, False, True]

    def test_an_error_of_input_fn_fails_its_row(self):
        result = evaluate(
            RunnableLambda(lambda text: text.upper()),
            [{"request": {"q": "a"}}, {"request": {"other": "b"}}],
            input_fn=lambda request: request["q"],
        )
        assert [row.outcome.response for row in result.rows] == ["A", None]
        assert "KeyError" in result.failures[0].outcome.error

    def test_a_full_disk_ends_the_evaluation_with_one_error(self, monkeypatch):
        # The same error as on a full disk: the database must not grow.
        from langchain_dbx_eval.evaluation.journal.store import Journal

        create = Journal.create.__func__

        def small(cls, manifest):
            journal = create(cls, manifest)
            journal._database.execute("PRAGMA max_page_count = 30")
            return journal

        monkeypatch.setattr(Journal, "create", classmethod(small))
        invoked = Counter()

        def chain(request):
            invoked["n"] += 1
            return "a" * 5000

        with pytest.raises(errors.JournalError, match="full"):
            evaluate(chain, records(200), max_concurrency=4)
        assert invoked["n"] < 200


class TestRepeat:
    def test_each_repetition_of_a_record_is_a_row(self):
        invoked = Counter()

        def chain(request):
            text = request["messages"][-1]["content"]
            invoked[text] += 1
            return f"{text}, time {invoked[text]}"

        result = evaluate(chain, records(3), repeat=3, max_concurrency=1)

        assert [(row.number, row.repetition) for row in result.rows] == [
            (n, r) for n in range(3) for r in (1, 2, 3)
        ]
        table = result.tables["eval_results"]
        assert list(table["repetition"]) == [1, 2, 3] * 3
        assert list(table["response"][:3]) == [f"question 0, time {n}" for n in (1, 2, 3)]

    def test_without_repetitions_there_is_no_column_for_them(self):
        table = evaluate(lambda request: "a", records(2)).tables["eval_results"]
        assert "repetition" not in table

    def test_a_repeat_of_0_is_an_error(self):
        with pytest.raises(errors.ConfigurationError, match="repeat must be at least 1"):
            evaluate(lambda request: "a", records(1), repeat=0)


def test_concurrent_evaluations_are_written_completely(mlflow_store, caplog):
    import mlflow

    def one(number):
        return evaluate(lambda request: f"{number}", records(4), run_name=f"{number}")

    with ThreadPoolExecutor(6) as threads:
        results = list(threads.map(one, range(6)))

    assert [result.pending_rows for result in results] == [0] * 6
    assert "sync" not in caplog.text
    for number, result in enumerate(results):
        assert {row.outcome.response for row in result.rows} == {str(number)}
        assert mlflow.get_run(result.run_id).info.status == "FINISHED"
