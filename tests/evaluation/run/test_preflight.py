"""What would fail on all rows ends an evaluation at its first row, with one clear error."""

from __future__ import annotations

import logging
import socket
from typing import Any

import mlflow
import pytest

from langchain_dbx_eval import ChatDatabricks, errors, evaluate
from langchain_dbx_eval._internal.paths import journals_root
from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.evaluation.journal.store import Journal
from langchain_dbx_eval.scoring import PromptJudge, scorer
from langchain_dbx_eval.testing import LocalWorkspace
from tests.scoring.scripted_judge import ScriptedJudge, verdict

pytestmark = pytest.mark.usefixtures("mlflow_store")

DATA = [{"request": f"question {n}", "response": "a"} for n in range(20)]
TONE = PromptJudge("tone", "Is {response} polite?")
NO_JUDGES = {"databricks-agent": {"metrics": []}}


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def the_journal() -> Journal:
    [path] = journals_root().glob("*.sqlite")
    return Journal.find(path)


def run_status() -> str:
    [run] = mlflow.search_runs(output_format="list")
    return str(run.info.status)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, errors.AuthenticationError),
        (403, errors.PermissionDeniedError),
        (404, errors.NotFoundError),
    ],
)
def test_a_model_that_no_row_can_reach_ends_the_evaluation(
    workspace: LocalWorkspace, status: int, error: type[Exception]
) -> None:
    calls = []
    workspace.add_endpoint("chat", lambda messages: calls.append(1) or "a", kind="chat")
    workspace.fail("chat", status=status, times=1)
    with pytest.raises(error, match=r"(?s)'chat'.*stopped after the first row") as stopped:
        evaluate(ChatDatabricks(model="chat"), DATA)
    assert isinstance(stopped.value, errors.DatabricksError)
    assert calls == []
    assert run_status() == "FAILED"
    # The row is not a failed row: after the mistake is mended, all rows run.
    result = evaluate(ChatDatabricks(model="chat"), DATA, resume="last")
    assert (len(result.rows), result.failures, len(calls)) == (20, [], 20)
    assert run_status() == "FINISHED"


def test_a_model_without_a_server_ends_the_evaluation(closed_port: int) -> None:
    chat = ChatDatabricks(
        model="chat", host=f"http://127.0.0.1:{closed_port}", api_token="token", max_retries=0
    )
    with pytest.raises(errors.ConnectionFailedError, match=rf"{closed_port}.*first row"):
        evaluate(chat, DATA)
    assert the_journal().count() == 0


class UserError(Exception):
    """An error of the user's code that looks like one of a server."""

    status_code = 404


@pytest.mark.parametrize(
    "error", [UserError("no"), ImportError("no"), ConnectionRefusedError("no"), PermissionError()]
)
def test_an_error_of_the_users_function_is_the_failure_of_its_row(error: Exception) -> None:
    def answer(request: Any) -> str:
        if "question 0" in str(request):
            raise error
        return "a"

    result = evaluate(answer, DATA)
    assert (len(result.rows), len(result.failures)) == (20, 1)


def test_a_judge_that_no_row_can_reach_ends_the_evaluation_and_keeps_the_answer(
    workspace: LocalWorkspace,
) -> None:
    calls: list[Any] = []
    workspace.add_endpoint("chat", lambda messages: calls.append(1) or "a", kind="chat")
    model = ChatDatabricks(model="chat")
    options: dict[str, Any] = {"scorers": [TONE], "evaluator_config": NO_JUDGES}
    with pytest.raises(errors.NotFoundError, match="judge 'tone' failed, whose model is 'missing'"):
        evaluate(model, DATA, judge="endpoints:/missing", **options)
    assert len(calls) == 1
    reply = verdict("yes")
    workspace.add_endpoint("missing", lambda messages, **params: reply, kind="chat")
    result = evaluate(model, DATA, judge="endpoints:/missing", resume="last", **options)
    assert len(calls) == 20
    assert result.metrics["response/llm_judged/tone/rating/percentage"] == 1.0


def test_a_package_that_a_scorer_lacks_ends_the_evaluation() -> None:
    @scorer
    def uses_a_package(response: str) -> float:
        import package_that_does_not_exist  # noqa: F401

        return 1.0

    with pytest.raises(errors.MissingDependencyError, match=r"uses_a_package.*does_not_exist"):
        evaluate(data=DATA, scorers=[uses_a_package])


def test_errors_of_a_judge_are_named_by_the_result() -> None:
    judge = ScriptedJudge(script=lambda messages: ValueError("down"))
    result = evaluate(data=DATA, judge=judge, scorers=[TONE], evaluator_config=NO_JUDGES)
    assert "scorer errors in rows: tone 20" in repr(result)


def test_if_all_rows_fail_the_errors_are_grouped_with_the_first_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def answer_nothing(request: Any) -> str:
        raise ValueError("odd" if "question 1" in str(request) else "even")

    evaluate(answer_nothing, [{"request": f"question {n}"} for n in range(4)])
    [record] = [record for record in caplog.records if "rows failed" in record.getMessage()]
    text = record.getMessage()
    assert text == "All 4 rows failed: 3 x ValueError: even; 1 x ValueError: odd"
    assert "in answer_nothing" in str(record.exc_text)


@pytest.mark.parametrize(
    ("column", "meant"),
    [("expected_answer", "expected_response"), ("retrieved_contexts", "retrieved_context")],
)
def test_a_column_near_a_known_one_is_a_warning(
    caplog: pytest.LogCaptureFixture, column: str, meant: str
) -> None:
    data = [{"request": "q", "response": "a", column: None, "topic": "geography", "tags": ["x"]}]
    data += [{"request": "r", "response": "a", column: "b"}]
    with caplog.at_level(logging.WARNING):
        evaluate(data=data)
    assert f"The column {column!r} of the data is not used" in caplog.text
    assert f"Did you mean {meant!r}?" in caplog.text
    assert caplog.text.count("Did you mean") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data": [{"request": "q"}]}, "neither a model nor responses"),
        (
            {"data": DATA, "evaluator_config": {"metrics": ["safety"]}},
            r"lacks its outer key. Pass evaluator_config=\{'databricks-agent': \{'metrics'",
        ),
    ],
)
def test_a_missing_argument_is_an_error_that_names_it(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        evaluate(**arguments)
