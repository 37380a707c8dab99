"""A judge is one `JudgeSpec`: everything else derives from it."""

from __future__ import annotations

from typing import Any

import pytest

from langchain_dbx_eval import evaluate
from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.scoring import contract
from langchain_dbx_eval.scoring.judges.builtin import BUILT_IN_JUDGES
from langchain_dbx_eval.scoring.judges.scales import Numeric
from langchain_dbx_eval.scoring.judges.spec import JudgeSpec, MlflowFunction
from tests.scoring.documented_sets import COMPLETE_WITH_OUTPUTS
from tests.scoring.scripted_judge import ScriptedJudge, block, requested_judge, verdict

NEW = JudgeSpec(
    name="conciseness",
    prompt="Is <response> a concise answer to <request>?",
    version="conciseness-1",
    inputs=("request", "response"),
    suggested_action="Ask for short answers.",
    mlflow=MlflowFunction(
        "meets_guidelines",
        lambda inputs: {
            "guidelines": ["The response is concise."],
            "context": {"request": inputs["request"], "response": inputs["response"]},
        },
    ),
)


@pytest.fixture
def _new_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUILT_IN_JUDGES, NEW.name, NEW)


def run(judge: Any, *metrics: str, **config: Any) -> Any:
    config = {"databricks-agent": {"metrics": list(metrics), **config}} if metrics else {}
    return evaluate(data=COMPLETE_WITH_OUTPUTS, judge=judge, evaluator_config=config)


@pytest.mark.usefixtures("_new_judge")
def test_a_new_judge_runs_by_default_in_its_columns_metrics_and_verdict(mlflow_store: str) -> None:
    def script(messages: Any) -> str:
        return verdict("no" if requested_judge(messages) == NEW.name else "yes", "too long")

    judge = ScriptedJudge(script=script)
    result = run(judge)
    request = next(m for m in judge.requests if requested_judge(m) == NEW.name)
    assert block(request, "response") == COMPLETE_WITH_OUTPUTS[0]["response"]
    row = result.tables["eval_results"].iloc[0]
    assert row["response/llm_judged/conciseness/rating"] == "no"
    assert row["response/llm_judged/conciseness/rationale"] == "too long"
    assert row["response/overall_assessment/root_cause_assessment"] == "conciseness"
    assert row["response/overall_assessment/suggested_action"] == "Ask for short answers."
    assert result.metrics["response/llm_judged/conciseness/rating/percentage"] == 0.0
    assert result.metrics["judge/conciseness/error_count"] == 0
    (assessment,) = [a for a in result.rows[0].assessments if a.name == NEW.name]
    assert assessment.metadata["prompt_version"] == "conciseness-1"


@pytest.mark.usefixtures("_new_judge")
def test_a_new_judge_is_selected_by_name(mlflow_store: str) -> None:
    judge = ScriptedJudge()
    run(judge, "conciseness")
    assert judge.requested_judges == ["conciseness"]
    judge = ScriptedJudge()
    run(judge, "safety")
    assert judge.requested_judges == ["safety"]


@pytest.mark.usefixtures("_new_judge")
def test_a_new_judge_calls_its_mlflow_function(openai_server: Any, mlflow_store: str) -> None:
    result = run("openai:/local", "conciseness")
    assert result.metrics["response/llm_judged/conciseness/rating/percentage"] == 1.0
    assert "The response is concise." in openai_server.requests[0]


def test_a_judge_without_a_spec_is_unknown() -> None:
    with pytest.raises(ConfigurationError, match=r"unknown 'conciseness'\. Supported: .*'safety'"):
        run(ScriptedJudge(), "conciseness")


def test_a_judge_of_chunks_rates_each_chunk_and_fails_a_row_if_all_fail(
    monkeypatch: pytest.MonkeyPatch, mlflow_store: str
) -> None:
    spec = JudgeSpec(
        name="freshness",
        prompt="Is <chunk> up to date?",
        version="freshness-1",
        inputs=("retrieved_context",),
        family=contract.RETRIEVAL_JUDGE_FAMILY,
        unit="chunk",
    )
    monkeypatch.setitem(BUILT_IN_JUDGES, spec.name, spec)
    result = run(ScriptedJudge(script=lambda _: verdict("no")), "freshness")
    row = result.tables["eval_results"].iloc[0]
    assert row["retrieval/llm_judged/freshness/ratings"] == ["no", "no"]
    assert row["response/overall_assessment/root_cause_assessment"] == "freshness"
    assert "freshness" in row["response/overall_assessment/suggested_action"]
    assert result.metrics["retrieval/llm_judged/freshness/precision/average"] == 0.0


def test_a_judge_of_global_guidelines_runs_only_if_these_are_configured(
    monkeypatch: pytest.MonkeyPatch, mlflow_store: str
) -> None:
    spec = JudgeSpec(
        name="policy",
        prompt="Does <response> conform to <guidelines>?",
        version="policy-1",
        inputs=("response",),
        unit="global_guidelines",
    )
    monkeypatch.setitem(BUILT_IN_JUDGES, spec.name, spec)
    judge = ScriptedJudge()
    run(judge, "safety")
    assert "policy" not in judge.requested_judges
    result = run(judge, "safety", global_guidelines={"tone": ["Be polite."]})
    assert result.metrics["response/llm_judged/policy/tone/rating/percentage"] == 1.0
    with pytest.raises(ConfigurationError, match="'policy' requires 'global_guidelines'"):
        run(judge, "policy")


def test_a_judge_with_a_numeric_scale_is_averaged_and_fails_no_row(
    monkeypatch: pytest.MonkeyPatch, mlflow_store: str
) -> None:
    spec = JudgeSpec(
        name="depth",
        prompt="How detailed is <response>?",
        version="depth-1",
        inputs=("response",),
        scale=Numeric(0, 5),
    )
    monkeypatch.setitem(BUILT_IN_JUDGES, spec.name, spec)
    result = run(ScriptedJudge(script=lambda _: verdict(4)), "depth")
    assert result.metrics["response/llm_judged/depth/rating/average"] == 4.0
    assert "response/overall_assessment/rating/percentage" not in result.metrics


def test_every_judge_has_an_action_a_counterpart_in_mlflow_and_a_row_in_the_documentation() -> None:
    from tests.test_documentation import ROOT

    page = (ROOT / "docs" / "scoring.md").read_text(encoding="utf-8")
    for spec in BUILT_IN_JUDGES.values():
        assert spec.suggested_action
        assert spec.mlflow is not None
        assert f"| {spec.name} |" in page
        assert spec.version.startswith(spec.name)
