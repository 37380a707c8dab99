"""`retry_failures`: what failed runs again, and replaces what the journal and MLflow have of it."""

from __future__ import annotations

import logging
import os
import signal
from collections import Counter

import mlflow
import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from langchain_dbx_eval import EvaluationResult, errors, evaluate, scorer
from langchain_dbx_eval._internal.paths import journals_root
from langchain_dbx_eval.cli import main
from langchain_dbx_eval.evaluation.tracking import writer
from langchain_dbx_eval.scoring import PromptJudge
from tests.evaluation.questions import RECORDS
from tests.polling import wait_until

pytestmark = pytest.mark.usefixtures("mlflow_store")

EXACT_MATCH = "response/ground_truth/exact_match/average"
# Outside of the functions that are fingerprinted: they behave otherwise in the second call.
broken: set[str] = set()
invoked: Counter[str] = Counter()


class Log(logging.Handler):
    """Keeps the text of all messages."""

    text = ""

    def emit(self, record):
        self.text += record.getMessage()


logged = Log()


@pytest.fixture(autouse=True)
def _fresh_state():
    broken.clear()
    invoked.clear()
    logged.text = ""
    logger = logging.getLogger("langchain_dbx_eval")
    logger.addHandler(logged)
    yield
    logger.removeHandler(logged)


def chain(request):
    text = request["messages"][-1]["content"]
    invoked[text] += 1
    if text in broken:
        raise ValueError("quota exhausted")
    if "ctrl-c" in broken:
        os.kill(os.getpid(), signal.SIGINT)
        wait_until(lambda: "SIGINT" in logged.text)
    return text.replace("question", "answer")


@mlflow.trace
def traced_chain(request):
    return chain(request)


@scorer
def length(response):
    if "scorer" in broken:
        raise ValueError("no length today")
    invoked["length"] += 1
    return len(response)


@scorer
def words(response):
    invoked["words"] += 1
    return len(response.split())


class Judge(BaseChatModel):
    """Rates no answer as polite, or fails when it is asked that."""

    @property
    def _llm_type(self):
        return "judge"

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        is_polite = any("polite" in message.text for message in messages)
        if "judge" in broken and is_polite:
            raise ValueError("no verdict today")
        rating = "no" if is_polite else "yes"
        message = AIMessage(f'{{"rationale": "because", "rating": "{rating}"}}')
        return ChatResult(generations=[ChatGeneration(message=message)])


def traces_of(result):
    return mlflow.search_traces(run_id=result.run_id, return_type="list", max_results=100)


def request_ids(traces):
    return sorted(trace.info.tags["mlflow.eval.requestId"] for trace in traces)


class TestFailedRows:
    @pytest.mark.parametrize("model", [chain, traced_chain], ids=["chain", "traced"])
    def test_are_invoked_again_and_replaced_in_the_result_and_in_mlflow(self, model):
        broken.update({"question 1", "question 4"})
        failed = evaluate(model, RECORDS)
        before = {trace.info.trace_id for trace in traces_of(failed)}
        old = {row.trace_id for row in failed.failures}
        assert len(before) == 6
        assert len(old) == 2
        broken.clear()
        invoked.clear()
        result = evaluate(model, RECORDS, resume=failed.run_id, retry_failures=True)

        assert invoked == {"question 1": 1, "question 4": 1}
        assert [row.number for row in result.rows] == list(range(6))
        assert not result.failures
        assert result.metrics[EXACT_MATCH] == 1.0
        assert result.run_id == failed.run_id
        traces = traces_of(result)
        assert request_ids(traces) == [f"r{n}" for n in range(6)]
        assert {trace.info.state for trace in traces} == {"OK"}
        after = {trace.info.trace_id for trace in traces}
        assert after == set(result.trace_ids)
        assert not after & old
        assert before - old <= after
        [experiment] = {trace.info.experiment_id for trace in traces}
        assert len(mlflow.search_traces(locations=[experiment], return_type="list")) == 6
        run = mlflow.get_run(result.run_id)
        assert run.info.status == "FINISHED"
        assert run.data.metrics[EXACT_MATCH] == 1.0
        assert list(mlflow.load_table("eval_results.json", run_ids=[run.info.run_id]).index) == [
            *range(6)
        ]
        assert repr(result) == repr(EvaluationResult.load(result.run_id))

    def test_that_fail_again_are_in_the_result_once(self):
        broken.add("question 1")
        failed = evaluate(chain, RECORDS)
        result = evaluate(chain, RECORDS, resume=failed.run_id, retry_failures=True)

        assert invoked["question 1"] == 2
        assert [row.number for row in result.failures] == [1]
        assert request_ids(traces_of(result)) == [f"r{n}" for n in range(6)]
        assert result.run_id == failed.run_id

    def test_are_not_invoked_again_without_the_option(self):
        broken.add("question 1")
        failed = evaluate(chain, RECORDS)
        broken.clear()
        result = evaluate(chain, RECORDS, resume=failed.run_id)

        assert invoked["question 1"] == 1
        assert len(result.failures) == 1

    def test_keep_the_traces_of_the_data(self):
        for question in ("a", "b"):
            with mlflow.start_span(question) as span:
                span.set_inputs({"messages": [{"role": "user", "content": question}]})
                span.set_outputs(None if question == "b" else "answer")
        mlflow.flush_trace_async_logging()
        traces = mlflow.search_traces(return_type="list")
        failed = evaluate(data=traces)
        assert len(failed.failures) == 1
        result = evaluate(data=traces, resume=failed.run_id, retry_failures=True)

        assert len(result.failures) == 1
        assert {t.info.trace_id for t in mlflow.search_traces(return_type="list")} == {
            trace.info.trace_id for trace in traces
        }

    def test_that_were_not_reached_before_ctrl_c_run_when_it_is_resumed(self):
        broken.update({"question 1", "question 2", "question 4"})
        failed = evaluate(chain, RECORDS)
        broken.clear()
        invoked.clear()
        broken.add("ctrl-c")
        with pytest.raises(KeyboardInterrupt, match="4 of 6 rows"):
            evaluate(chain, RECORDS, max_concurrency=1, resume=failed.run_id, retry_failures=True)
        assert "incomplete" in repr(EvaluationResult.load(failed.run_id))
        broken.clear()
        result = evaluate(chain, RECORDS, resume="last")

        assert invoked == {"question 1": 1, "question 2": 1, "question 4": 1}
        assert [row.number for row in result.rows] == list(range(6))
        assert not result.failures
        assert request_ids(traces_of(result)) == [f"r{n}" for n in range(6)]


class TestScorers:
    def test_with_an_error_run_again_alone(self):
        broken.add("scorer")
        options = {"scorers": [length, words]}
        failed = evaluate(chain, RECORDS, **options)
        assert "metric/length/average" not in failed.metrics
        assert mlflow.get_run(failed.run_id).data.metrics["judge/length/error_count"] == 6
        trace_ids = failed.trace_ids
        broken.clear()
        invoked.clear()
        result = evaluate(chain, RECORDS, resume=failed.run_id, retry_failures=True, **options)

        assert invoked == {"length": 6}
        assert result.metrics["metric/length/average"] == len("answer 0")
        assert result.trace_ids == trace_ids
        metrics = mlflow.get_run(result.run_id).data.metrics
        assert metrics["metric/length/average"] == len("answer 0")
        assert metrics["judge/length/error_count"] == 0
        for trace in traces_of(result):
            scores = {a.name: (a.value, a.error) for a in trace.info.assessments if a.feedback}
            assert scores == {"length": (8, None), "words": (2, None)}
            assert len([a for a in trace.info.assessments if a.feedback]) == 2

    def test_change_the_overall_assessment_and_keep_the_feedback_of_people(self):
        broken.add("judge")
        judges = [
            PromptJudge("good", "Is {response} good?"),
            PromptJudge("polite", "Is {response} polite?"),
        ]
        options = {
            "scorers": judges,
            "judge": Judge(),
            "evaluator_config": {"databricks-agent": {"metrics": []}},
        }
        failed = evaluate(chain, RECORDS[:2], **options)
        for trace_id in failed.trace_ids:
            mlflow.log_feedback(
                trace_id=trace_id,
                name="polite",
                value="yes",
                source=mlflow.entities.AssessmentSource("HUMAN", "me"),
            )
        broken.clear()
        result = evaluate(chain, RECORDS[:2], resume=failed.run_id, retry_failures=True, **options)

        assert invoked == {"question 0": 1, "question 1": 1}
        for trace in traces_of(result):
            scores = Counter(
                (a.name, a.source.source_type, a.value)
                for a in trace.info.assessments
                if a.feedback
            )
            assert scores == {
                ("good", "LLM_JUDGE", "yes"): 1,
                ("polite", "LLM_JUDGE", "no"): 1,
                ("polite", "HUMAN", "yes"): 1,
                ("overall_assessment", "CODE", "no"): 1,
            }


def test_a_row_that_mlflow_never_received_is_retried(monkeypatch):
    monkeypatch.setattr(writer, "_FLUSH_TIMEOUT_S", 0.5)
    uri = mlflow.get_tracking_uri()
    # An address with a password is not stored: `sync` writes to the store that is current then.
    mlflow.set_tracking_uri("http://user:password@127.0.0.1:9")
    broken.add("question 1")
    failed = evaluate(chain, RECORDS)
    assert (failed.pending_rows, len(failed.failures)) == (6, 1)
    broken.clear()
    again = evaluate(chain, RECORDS, resume=failed.journal, retry_failures=True)
    assert (again.pending_rows, len(again.failures)) == (6, 0)
    mlflow.set_tracking_uri(uri)

    assert main(["sync", str(again.journal)]) == 0
    assert request_ids(traces_of(again)) == [f"r{n}" for n in range(6)]


def test_what_is_replaced_while_mlflow_is_down_is_deleted_by_sync(monkeypatch):
    broken.add("question 1")
    failed = evaluate(chain, RECORDS)
    [old] = [row.trace_id for row in failed.failures]
    broken.clear()

    def unavailable(self, *args, **kwargs):
        raise MlflowException("overloaded", error_code=TEMPORARILY_UNAVAILABLE)

    with monkeypatch.context() as patch:
        patch.setattr(writer, "_FLUSH_TIMEOUT_S", 0.5)
        patch.setattr(SqlAlchemyStore, "delete_traces", unavailable)
        result = evaluate(chain, RECORDS, resume="last", retry_failures=True)
    assert result.pending_rows == 1
    assert old in {trace.info.trace_id for trace in traces_of(result)}

    assert main(["sync", result.run_id]) == 0
    traces = traces_of(result)
    assert request_ids(traces) == [f"r{n}" for n in range(6)]
    assert old not in {trace.info.trace_id for trace in traces}


def test_nothing_runs_if_nothing_failed():
    done = evaluate(chain, RECORDS)
    invoked.clear()
    result = evaluate(chain, RECORDS, resume=done.run_id, retry_failures=True)

    assert not invoked
    assert result.trace_ids == done.trace_ids


def test_an_evaluation_to_retry_is_required():
    with pytest.raises(errors.ConfigurationError, match="retry_failures=True needs resume="):
        evaluate(chain, RECORDS, retry_failures=True)
    assert not list(journals_root().glob("*"))
