"""Text and names that MLflow refuses lose a character, never the evaluation."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import mlflow
import pytest
from langchain_core.runnables import RunnableLambda
from mlflow.exceptions import MlflowException
from mlflow.utils.validation import _validate_metric_name

from langchain_dbx_eval import EvaluationCallbackHandler, EvaluationResult, evaluate
from langchain_dbx_eval.cli import main
from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.evaluation.tracking.metrics import legal_metric_names
from langchain_dbx_eval.reporting.report import write_report
from langchain_dbx_eval.scoring import scorer

pytestmark = pytest.mark.usefixtures("mlflow_store")


def check(result: EvaluationResult, rows: int, folder: Path) -> dict[str, float]:
    """Check that table, report, MLflow and `sync` have all rows; return MLflow's metrics."""
    assert len(result.tables["eval_results"]) == rows
    assert write_report(result, folder / "report.html").exists()
    assert main(["sync", result.evaluation_id]) == 0
    assert result.pending_rows == 0
    run = mlflow.get_run(result.run_id)
    assert run.info.status == "FINISHED"
    assert len(mlflow.search_traces(run_id=result.run_id)) == rows
    return run.data.metrics


@pytest.mark.parametrize("code", [0xD83D, 0xDC80, 0])
def test_a_character_that_stores_refuse_loses_no_row(code: int, tmp_path: Path) -> None:
    refused = chr(code)

    def model(request: str) -> Any:
        if "error" in request:
            raise ValueError(f"bad {refused}")
        return {"content": f"answer {refused}", "extra": {refused: refused}}

    @scorer
    def rate(response: str, request: str) -> Any:
        if "unrated" in request:
            raise ValueError(f"bad {refused}")
        return {"value": 1.0, "rationale": f"because {refused}"}

    requests = [f"answer {refused}", f"error {refused}", f"unrated {refused}", "clean"]
    records = [
        {"request": request, "request_id": f"{number}{refused}", "expected_response": refused}
        for number, request in enumerate(requests)
    ]
    options: dict[str, Any] = {"scorers": [rate], "input_fn": lambda request: request}
    result = evaluate(model, records, **options)
    metrics = check(result, 4, tmp_path)
    assert (metrics["rows/answered"], metrics["judge/rate/error_count"]) == (3, 1)
    marked = f"\ufffd<U+{code:04X}>"
    assert result.rows[0].outcome.response["content"] == f"answer {marked}"
    assert result.rows[0].record.request == f"answer {marked}"
    assert result.rows[1].outcome.error == f"ValueError: bad {marked}"
    resumed = evaluate(model, records, **options, resume=result.evaluation_id, retry_failures=True)
    check(resumed, 4, tmp_path)


@pytest.mark.parametrize("code", [0xD83D, 0])
def test_a_name_with_a_character_that_stores_refuse_is_rejected_at_the_start(code: int) -> None:
    name = f"name {chr(code)}"
    data = [{"request": "q", "response": "a"}]
    with pytest.raises(ConfigurationError, match=r"of the scorer 'name .* contains"):
        evaluate(data=data, scorers=[scorer(name=name)(lambda response: 1.0)])
    config = {"databricks-agent": {"global_guidelines": {name: ["Be polite."]}}}
    with pytest.raises(ConfigurationError, match=r"group of guidelines 'name .* contains"):
        evaluate(data=data, evaluator_config=config, judge="endpoints:/judge")


def test_a_cut_character_in_a_captured_call_loses_no_row(tmp_path: Path) -> None:
    handler = EvaluationCallbackHandler()
    chain = RunnableLambda(lambda request: f"answer to {request}")
    cut = "\ud83d"
    chain.invoke(cut, {"callbacks": [handler], "metadata": {"k": cut}, "tags": [cut]})
    check(handler.result(), 1, tmp_path)


NAMES = [
    "R&D",
    "it's",
    "f(x)",
    "two\nlines",
    "..",
    ".",
    "../up",
    "a//b",
    "/start",
    "end/",
    "n" * 300,
    "",
    "tab\t",
    "trailing\n",
    "50 %",
]


def test_any_name_of_a_scorer_is_a_metric_in_mlflow(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = [name for name in NAMES if name]
    scorers = [scorer(name=name)(lambda response: 1.0) for name in names]
    with caplog.at_level(logging.WARNING):
        result = evaluate(data=[{"request": "q", "response": "a"}], scorers=scorers)
    metrics = check(result, 1, tmp_path)
    assert metrics["metric/R_D/average"] == 1.0
    assert "'metric/R&D/average' as 'metric/R_D/average'" in caplog.text
    assert result.metrics["metric/R&D/average"] == 1.0
    assert len([name for name in metrics if name.startswith("metric/")]) >= len(names)


@pytest.mark.parametrize("name", NAMES)
def test_each_name_is_mapped_to_one_that_mlflow_accepts(name: str) -> None:
    legal = legal_metric_names([name, f"metric/{name}/average"])
    for mapped in legal.values():
        _validate_metric_name(mapped)
        assert 0 < len(mapped) <= 250
    assert legal_metric_names(legal.values()) == {mapped: mapped for mapped in legal.values()}


def test_two_names_never_become_one() -> None:
    names = ["R_D", "R&D", "R'D", "x" * 300, "x" * 301, "ok"]
    legal = legal_metric_names(names)
    assert len(set(legal.values())) == len(names)
    assert (legal["R_D"], legal["ok"]) == ("R_D", "ok")
    assert legal_metric_names(reversed(names)) == legal


def test_one_metric_that_mlflow_refuses_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As a server whose rules are stricter than those of MLflow 3.17."""

    def refuse(client: Any, run_id: str, metrics: Any = (), *args: Any, **kwargs: Any) -> Any:
        if any("rows/empty" in metric.key for metric in metrics):
            raise MlflowException("no", error_code=1000)
        return log_batch(client, run_id, metrics, *args, **kwargs)

    log_batch = mlflow.MlflowClient.log_batch
    monkeypatch.setattr(mlflow.MlflowClient, "log_batch", refuse)
    with caplog.at_level(logging.WARNING):
        result = evaluate(data=[{"request": "q", "response": "a"}])
    metrics = check(result, 1, tmp_path)
    assert "rows/total" in metrics
    assert "rows/empty" not in metrics
    assert "rows/empty" in caplog.text
