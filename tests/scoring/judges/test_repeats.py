"""`judge_repeats`: a judge rates each row several times, and the majority decides."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

import mlflow
import pytest
from langchain_core.messages import BaseMessage

from langchain_dbx_eval import (
    EvalRecord,
    EvaluationCallbackHandler,
    EvaluationResult,
    PromptJudge,
    evaluate,
)
from langchain_dbx_eval.errors import ConfigurationError, JournalError
from langchain_dbx_eval.evaluation import CallbackOptions, EvaluationOptions
from langchain_dbx_eval.scoring import (
    Assessment,
    Categorical,
    Numeric,
    Outcome,
    ScoringContext,
    score,
    select_scorers,
)
from langchain_dbx_eval.testing import LocalWorkspace
from tests.scoring.scripted_judge import ScriptedJudge, block, verdict

SAFETY = {"databricks-agent": {"metrics": ["safety"]}}
NO_BUILT_IN = {"databricks-agent": {"metrics": []}}


def scripted(ratings: dict[str, Sequence[Any]]) -> ScriptedJudge:
    """A judge that rates each response by its list of ratings, in turn."""
    remaining: defaultdict[str, Iterator[Any]] = defaultdict(lambda: repeat("yes"))
    remaining |= {response: iter(values) for response, values in ratings.items()}

    def script(messages: list[BaseMessage]) -> Any:
        rating = next(remaining[block(messages, "response")])
        return rating if isinstance(rating, Exception) else verdict(rating, f"because {rating}")

    return ScriptedJudge(script=script)


def rate(ratings: Sequence[Any], scale: Any = None) -> Assessment:
    """Ask a judge that gives these ratings, as many times as there are."""
    judge = PromptJudge("tone", "Rate {response}.", **({"scale": scale} if scale else {}))
    chosen = select_scorers(
        [judge],
        judge=scripted({"An answer.": ratings}),
        evaluator_config=NO_BUILT_IN,
        judge_repeats=len(ratings),
    )
    context = ScoringContext(EvalRecord(request="A question?"), Outcome(response="An answer."))
    return next(a for a in score(context, chosen).assessments if a.name == "tone")


def evaluate_rows(judge: Any, responses: Sequence[str], **options: Any) -> EvaluationResult:
    return evaluate(
        data=[{"request": f"Question {n}?", "response": r} for n, r in enumerate(responses)],
        judge=judge,
        evaluator_config=SAFETY,
        options=EvaluationOptions(**options),
    )


@pytest.mark.parametrize(
    ("ratings", "expected", "disagreement"),
    [
        (["yes", "no", "yes"], "yes", 2 / 3),
        (["no", "no", "yes"], "no", 2 / 3),
        (["yes", "yes", "yes"], "yes", 0),
        (["yes", "no"], "no", 1),
        (["yes", "no", "yes", "no"], "no", 4 / 6),
    ],
)
def test_the_majority_decides_and_a_tie_is_a_no(
    ratings: list[str], expected: str, disagreement: float
) -> None:
    assessment = rate(ratings)
    assert (assessment.value, assessment.rationale) == (expected, f"because {expected}")
    assert assessment.metadata["judge_repeats"] == str(len(ratings))
    assert json.loads(assessment.metadata["judge_ratings"]) == ratings
    found = float(assessment.metadata["judge_disagreement"])
    assert found == pytest.approx(disagreement, abs=1e-9)


@pytest.mark.parametrize(
    ("ratings", "expected", "rationale"),
    [([1, 5, 4], 4, "because 4"), ([2, 4], 3, "because 2")],
)
def test_the_median_of_numbers_decides(ratings: list[int], expected: float, rationale: str) -> None:
    assessment = rate(ratings, Numeric(1, 5))
    assert (assessment.value, assessment.rationale) == (expected, rationale)


def test_of_tied_categories_the_first_one_decides() -> None:
    scale = Categorical(("casual", "formal", "rude"))
    assert rate(["formal", "rude", "rude", "formal"], scale).value == "formal"


def test_a_repeat_that_fails_has_no_rating_and_half_of_them_have_no_majority() -> None:
    failure = ValueError("the endpoint is gone")
    assessment = rate(["no", failure, "no"])
    assert (assessment.value, assessment.error) == ("no", None)
    assert json.loads(assessment.metadata["judge_ratings"]) == ["no", None, "no"]
    undecided = rate(["no", failure])
    assert undecided.value is None
    assert undecided.error is not None
    assert undecided.error.startswith("1 of 2 repeats have no rating; the first: ValueError: the")
    assert "judge_disagreement" not in undecided.metadata


def test_the_usage_of_all_repeats_is_counted() -> None:
    usage = rate(["yes", "no", "yes"]).usage
    assert usage is not None
    assert (usage.calls, usage.cached) == (3, 0)
    assert (usage.input_tokens, usage.output_tokens) == (30, 6)


def test_a_judge_of_chunks_decides_each_chunk_by_its_majority() -> None:
    ratings = {"good": iter(["yes", "no", "yes"]), "bad": iter(["no", "no", "no"])}
    judge = ScriptedJudge(script=lambda messages: verdict(next(ratings[block(messages, "chunk")])))
    config = {"databricks-agent": {"metrics": ["chunk_relevance"]}}
    chosen = select_scorers([], judge=judge, evaluator_config=config, judge_repeats=3)
    chunks = [{"content": "good"}, {"content": "bad"}]
    outcome = Outcome(response="An answer.", retrieved_context=chunks)
    scores = score(ScoringContext(EvalRecord(request="A question?"), outcome), chosen)
    assessment = next(a for a in scores.assessments if a.name == "chunk_relevance")
    assert assessment.value == 0.5
    assert float(assessment.metadata["judge_disagreement"]) == pytest.approx(1 / 3, abs=1e-9)
    assert sorted(map(sorted, json.loads(assessment.metadata["judge_ratings"]))) == [
        ["no", "no", "no"],
        ["no", "yes", "yes"],
    ]


def test_the_instability_is_in_the_summary_the_metrics_and_mlflow(mlflow_store: str) -> None:
    ratings = {"a": ["yes", "no", "yes"], "b": ["no", "no", "no"], "c": ["yes"] * 3}
    result = evaluate_rows(scripted(ratings), ["a", "b", "c"], judge_repeats=3)
    assert [row.assessments[0].value for row in result.rows] == ["yes", "no", "yes"]
    instability = result.summary.instability["safety"]
    assert (instability.rows, instability.unstable_rows) == (3, 1)
    assert instability.share == pytest.approx(1 / 3, abs=1e-9)
    assert instability.disagreement == pytest.approx(2 / 9, abs=1e-9)
    assert result.summary.judging.calls == 9
    logged = mlflow.get_run(result.run_id).data.metrics
    assert logged["judge/safety/unstable/percentage"] == pytest.approx(1 / 3, abs=1e-9)
    assert logged["judge/safety/disagreement/average"] == pytest.approx(2 / 9, abs=1e-9)
    [trace] = [
        trace
        for trace in mlflow.search_traces(run_id=result.run_id, return_type="list")
        if "Question 0?" in str(trace.data.request)
    ]
    [feedback] = trace.search_assessments("safety")
    assert Counter(json.loads(feedback.metadata["judge_ratings"])) == {"yes": 2, "no": 1}
    # The journal stores the same.
    again = EvaluationResult.load(result.evaluation_id)
    assert again.summary.instability == result.summary.instability


def test_without_repeats_no_instability_is_reported(mlflow_store: str) -> None:
    result = evaluate_rows(ScriptedJudge(), ["a"])
    assert result.summary.instability == {}
    assert not [name for name in result.metrics if "unstable" in name or "disagreement" in name]


def test_the_cache_keeps_the_repeats_apart(mlflow_store: str, tmp_path: Path) -> None:
    options = {"judge_cache": tmp_path / "verdicts.db"}
    once = scripted({"a": ["yes"]})
    evaluate_rows(once, ["a"], **options)
    thrice = scripted({"a": ["no", "no"]})
    # The first repeat is the verdict of the run without repeats.
    result = evaluate_rows(thrice, ["a"], judge_repeats=3, **options)
    assert result.rows[0].assessments[0].value == "no"
    assert (result.summary.judging.calls, result.summary.judging.cached) == (2, 1)
    with sqlite3.connect(tmp_path / "verdicts.db") as database:
        stored = database.execute("SELECT value FROM verdicts").fetchall()
    assert sorted(stored) == [("no",), ("no",), ("yes",)]
    unused = ScriptedJudge(script=lambda _: ValueError("every verdict is cached"))
    again = evaluate_rows(unused, ["a"], judge_repeats=3, **options)
    assert again.rows[0].assessments[0].value == "no"
    assert (again.summary.judging.calls, again.summary.judging.cached) == (0, 3)
    assert unused.requests == []


def test_a_judge_with_a_model_of_its_own_is_repeated_too(mlflow_store: str) -> None:
    model = scripted({"a": ["yes", "no", "no"]})
    result = evaluate(
        data=[{"request": "A question?", "response": "a"}],
        scorers=[PromptJudge("tone", "Is {response} polite?", model=model)],
        evaluator_config=NO_BUILT_IN,
        options=EvaluationOptions(judge_repeats=3),
    )
    assert len(model.requests) == 3
    assert result.summary.instability["tone"].unstable_rows == 1


def test_an_endpoint_is_called_once_per_repeat(
    mlflow_store: str, workspace: LocalWorkspace
) -> None:
    answers = iter([verdict("yes"), verdict("no"), verdict("no")])
    workspace.add_endpoint("judge", lambda messages, **_: next(answers), kind="chat")
    result = evaluate_rows("endpoints:/judge", ["a"], judge_repeats=3)
    assert result.rows[0].assessments[0].value == "no"
    assert result.summary.instability["safety"].unstable_rows == 1
    assert len([r for r in workspace.requests if r.path.endswith("/invocations")]) == 3


def test_the_callback_repeats_its_judges(mlflow_store: str) -> None:
    from langchain_core.runnables import RunnableLambda

    handler = EvaluationCallbackHandler(
        judge=scripted({"A": ["yes", "no", "yes"]}),
        evaluator_config=SAFETY,
        options=CallbackOptions(judge_repeats=3),
    )
    RunnableLambda(str.upper).invoke("a", {"callbacks": [handler]})
    result = handler.result()
    assert result.metrics["response/llm_judged/safety/rating/percentage"] == 1
    assert result.summary.instability["safety"].unstable_rows == 1


def test_mlflows_evaluator_repeats_its_judges(mlflow_store: str) -> None:
    import pandas as pd

    judge = scripted({"b": ["no", "yes", "no"]})
    result = mlflow.models.evaluate(
        data=pd.DataFrame([{"request": "a", "response": "b"}]),
        model_type="dbx-agent",
        evaluators="dbx-eval",
        evaluator_config={"judge": judge, "metrics": ["safety"], "judge_repeats": 3},
    )
    assert result.metrics["judge/safety/unstable/percentage"] == 1


def test_another_number_of_repeats_is_a_change_of_the_scorers(mlflow_store: str) -> None:
    first = evaluate_rows(ScriptedJudge(), ["a"], judge_repeats=3)
    with pytest.raises(JournalError, match="scorers"):
        evaluate(
            data=[{"request": "Question 0?", "response": "a"}],
            judge=ScriptedJudge(),
            evaluator_config=SAFETY,
            resume=first.evaluation_id,
            options=EvaluationOptions(judge_repeats=5),
        )


@pytest.mark.parametrize("repeats", [0, -1])
def test_a_number_of_repeats_below_1_is_an_error(repeats: int) -> None:
    with pytest.raises(
        ConfigurationError, match=rf"judge_repeats must be at least 1, got {repeats}"
    ):
        select_scorers([], judge=ScriptedJudge(), judge_repeats=repeats)


def test_repeats_without_a_judge_are_an_error() -> None:
    with pytest.raises(ConfigurationError, match="No judge model for judge_repeats"):
        select_scorers([], evaluator_config=NO_BUILT_IN, judge_repeats=3)
