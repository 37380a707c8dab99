"""MLflow finds our evaluator by its entry point, and returns an MLflow result."""

from __future__ import annotations

from typing import Any

import mlflow
import pandas as pd
import pytest
from langchain_core.language_models.fake_chat_models import FakeListChatModel

from langchain_dbx_eval.errors import ConfigurationError

ROWS = pd.DataFrame(
    [
        {"request": "q0", "response": "a", "expected_response": "a"},
        {"request": "q1", "response": "b", "expected_response": "a"},
    ]
)


def run(data: Any = ROWS, **options: Any) -> Any:
    config = options.pop("evaluator_config", {})
    return mlflow.models.evaluate(
        data=data,
        model_type="dbx-agent",
        evaluators="dbx-eval",
        evaluator_config=config,
        **options,
    )


def test_mlflow_runs_our_evaluator_and_returns_an_mlflow_result(mlflow_store: str) -> None:
    judge = FakeListChatModel(responses=['{"rating": "yes"}'])
    with mlflow.start_run() as active:
        result = run(evaluator_config={"judge": judge, "metrics": ["safety"]})
    assert isinstance(result, mlflow.models.EvaluationResult)
    assert result.metrics["response/llm_judged/safety/rating/percentage"] == 1.0
    assert result.metrics["response/ground_truth/exact_match/average"] == 0.5
    logged = mlflow.get_run(active.info.run_id).data.metrics
    assert logged["response/llm_judged/safety/rating/percentage"] == 1.0
    content = result.artifacts["eval_results"].content
    assert "response/llm_judged/safety/rating" in content["columns"]
    assert len(content["data"]) == 2


def test_a_function_receives_the_documented_input(mlflow_store: str) -> None:
    def answer(model_input: Any) -> str:
        return "a" if model_input["messages"][0]["content"] == "q0" else "c"

    data = ROWS[["request", "expected_response"]]
    result = run(data, model=answer)
    assert result.metrics["response/ground_truth/exact_match/average"] == 0.5
    assert "agent/latency_seconds/average" in result.metrics


def test_the_error_for_an_unsupported_option_lists_the_supported_ones(
    mlflow_store: str,
) -> None:
    with pytest.raises(ConfigurationError, match=r"'judges'.*judge, judge_cache"):
        run(evaluator_config={"judges": 1})
