"""Two evaluations in MLflow's own UI: the runs, their dataset, their rows, and the comparison."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from langchain_dbx_eval import EvalDataset, EvaluationResult, evaluate
from langchain_dbx_eval.testing import LocalWorkspace
from tests.evaluation.tracking.mlflow_server import MlflowServer
from tests.polling import wait_until
from tests.reporting.conftest import Page

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

NAME = "main.default.questions"
RECORDS = [
    {"request_id": "fr", "request": "Capital of France?", "expected_response": "Paris"},
    {"request_id": "kr", "request": "Capital of Korea?", "expected_response": "Seoul"},
    {"request_id": "de", "request": "Capital of Germany?", "expected_response": "Berlin"},
]


def judge(messages: list[dict[str, Any]], **params: Any) -> str:
    is_wrong = "Atlantis" in json.dumps(messages)
    return json.dumps({"rationale": "r", "rating": "no" if is_wrong else "yes"})


def answers(korea: str) -> Any:
    def answer(model_input: dict) -> str:
        question = model_input["messages"][-1]["content"]
        if "Germany" in question:
            raise ConnectionError("unreachable")
        return korea if "Korea" in question else "Paris"

    return answer


@pytest.fixture
def evaluations(mlflow_store: str) -> tuple[EvaluationResult, EvaluationResult]:
    EvalDataset.create(NAME, RECORDS)
    with LocalWorkspace() as workspace:
        workspace.add_endpoint("judge", judge, kind="chat")
        first, second = (
            evaluate(answers(korea), NAME, judge="endpoints:/judge", run_name=name)
            for name, korea in (("first", "Atlantis"), ("second", "Seoul"))
        )
    return first, second


@pytest.fixture
def ui(
    _browser: Chrome, evaluations: tuple[EvaluationResult, EvaluationResult], tmp_path: Path
) -> Iterator[Callable[..., str]]:
    """A function that opens a page of the experiment, waits for texts, and returns all of it.

    `_browser` comes first: it skips the test if there is none.
    """
    server, page = MlflowServer(tmp_path / "mlflow.db"), Page(_browser)

    def open_page(path: str, *expected: str) -> str:
        page.driver.get("about:blank")
        page.driver.get(f"{server.uri}/#/experiments/{evaluations[0].experiment_id}/{path}")
        wait_until(lambda: all(text in page.text("body") for text in expected), timeout=200)
        return page.text("body")

    page.emulate(width=2400)
    try:
        server.start()
        yield open_page
    finally:
        server.kill()


@pytest.mark.timeout(900)
def test_mlflows_ui_shows_runs_rows_and_their_comparison(
    ui: Callable[..., str], evaluations: tuple[EvaluationResult, EvaluationResult]
) -> None:
    first, second = evaluations
    ui(
        "evaluation-runs",
        *("first", "second", "Eval", NAME, "rows/failed"),
        "response/llm_judged/safety/rating/percentage",
    )
    ui(
        f"runs/{first.run_id}",
        *(f"{NAME} ({first.dataset.digest})", "Finished", "1 of 3 rows failed (ConnectionError 1)"),
    )
    rows = ui(
        f"runs/{second.run_id}/traces?compareToRunUuid={first.run_id}",
        *(record["request"] for record in RECORDS),
        *("compare to", "3 of 3", "Seoul", "Atlantis", "Pass", "Fail", "Error"),
    )
    # Each request once: the rows of both runs are paired.
    assert [rows.count(record["request"]) for record in RECORDS] == [1, 1, 1]
