"""The judge model of a run that names none: DBX_EVAL_JUDGE, or none, with one warning."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import pytest
from langchain_core.runnables import RunnableLambda

from langchain_dbx_eval import EvaluationCallbackHandler, PromptJudge, evaluate
from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.reporting import print_result, write_report
from langchain_dbx_eval.scoring import as_mlflow_scorer
from langchain_dbx_eval.testing import LocalWorkspace
from tests.reporting.report_file import read_overview
from tests.scoring.documented_sets import COMPLETE_WITH_OUTPUTS

pytestmark = pytest.mark.usefixtures("mlflow_store")
ROWS = [{"request": "q", "response": "a"}, {"request": "q2", "response": "a", "guidelines": ["x"]}]
SAFETY = {"databricks-agent": {"metrics": ["safety"]}}


def add_judge(workspace: LocalWorkspace, name: str, rating: str) -> None:
    answer = f'{{"rationale": "r", "rating": "{rating}"}}'
    workspace.add_endpoint(name, lambda messages, **params: answer, kind="chat")


@pytest.fixture
def judge_endpoint(workspace: LocalWorkspace, monkeypatch: pytest.MonkeyPatch) -> LocalWorkspace:
    add_judge(workspace, "judge", "no")
    monkeypatch.setenv("DBX_EVAL_JUDGE", "endpoints:/judge")
    return workspace


def test_a_documented_call_uses_the_endpoint_of_the_variable(
    judge_endpoint: LocalWorkspace, caplog: pytest.LogCaptureFixture
) -> None:
    result = evaluate(data=COMPLETE_WITH_OUTPUTS, model_type="databricks-agent")
    assert result.metrics["response/llm_judged/correctness/rating/percentage"] == 0
    assert result.rows[0].assessments[-2].metadata["judge_model"] == "judge"
    assert "No judge model" not in caplog.text


def test_the_argument_takes_precedence_over_the_variable(judge_endpoint: LocalWorkspace) -> None:
    add_judge(judge_endpoint, "other", "yes")
    result = evaluate(data=ROWS, judge="endpoints:/other", evaluator_config=SAFETY)
    assert result.metrics["response/llm_judged/safety/rating/percentage"] == 1


def test_the_callback_prompt_judges_and_mlflow_use_the_variable(
    judge_endpoint: LocalWorkspace,
) -> None:
    tone = PromptJudge("tone", "Is {response} polite?")
    handler = EvaluationCallbackHandler(scorers=[tone])
    RunnableLambda(str.upper).invoke("q", {"callbacks": [handler]})
    metrics = handler.result().metrics
    assert metrics["response/llm_judged/tone/rating/percentage"] == 0
    assert metrics["response/llm_judged/safety/rating/percentage"] == 0
    assert as_mlflow_scorer(tone).run(outputs="a", inputs={"q": 1})[0].value == "no"


def test_the_variable_may_name_mlflows_judges(
    openai_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBX_EVAL_JUDGE", "openai:/local")
    result = evaluate(data=ROWS, evaluator_config=SAFETY)
    assert result.metrics["response/llm_judged/safety/rating/percentage"] == 1
    assert result.rows[0].assessments[-2].metadata["judge_model"] == "openai:/local"


def test_an_invalid_variable_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBX_EVAL_JUDGE", "gpt-4")
    with pytest.raises(ConfigurationError, match=r"'gpt-4' \(DBX_EVAL_JUDGE\) is not a supported"):
        evaluate(data=ROWS)


def test_without_a_judge_one_warning_the_summary_and_the_report_name_the_skipped_judges(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    rich = pytest.importorskip("rich.console")
    with caplog.at_level(logging.WARNING, logger="langchain_dbx_eval"):
        result = evaluate(data=ROWS)
    (warning,) = [r.getMessage() for r in caplog.records if "judge" in r.getMessage().lower()]
    assert "safety" in warning
    assert "Pass judge=, or set the environment variable DBX_EVAL_JUDGE" in warning
    assert result.summary.skipped == {
        "guideline_adherence": 1,
        "relevance_to_query": 2,
        "safety": 2,
    }
    assert result.summary.skip_reasons == {"judge (or DBX_EVAL_JUDGE)": result.summary.skipped}
    assert not any("llm_judged" in column for column in result.tables["eval_results"])
    line = (
        "Skipped without judge (or DBX_EVAL_JUDGE): guideline_adherence (1 rows), "
        "relevance_to_query (2 rows), safety (2 rows)"
    )
    assert line in read_overview(write_report(result, tmp_path / "r.html"))["runs"][0]["notes"]
    console = rich.Console(file=io.StringIO(), width=200)
    print_result(result, console)
    assert line in console.file.getvalue()


def test_a_run_that_wants_no_judges_has_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    result = evaluate(data=ROWS, evaluator_config={"databricks-agent": {"metrics": []}})
    assert "No judge model" not in caplog.text
    assert result.summary.skipped == {}


def test_judges_that_are_listed_need_a_model() -> None:
    with pytest.raises(ConfigurationError, match=r"No judge model for safety: .*DBX_EVAL_JUDGE"):
        evaluate(data=ROWS, evaluator_config=SAFETY)
