"""Custom scorers: functions with a decorator, and prompts."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

import pytest

from langchain_dbx_eval import EvalRecord, EvaluationCallbackHandler, evaluate, scorer
from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.scoring import (
    Categorical,
    Numeric,
    Outcome,
    PromptJudge,
    RowScores,
    ScoringContext,
    score,
)
from tests.scoring.scripted_judge import ScriptedJudge, block, verdict


def row(**record: Any) -> ScoringContext:
    return ScoringContext(EvalRecord(request="q", **record), Outcome(response="an answer"))


def test_a_scorer_that_affects_the_verdict_has_the_columns_of_a_judge() -> None:
    @scorer(name="short", affects_verdict=True)
    def is_short(response: str) -> tuple[bool, str]:
        return len(response) < 5, "counted"

    assessment, overall = score(row(), [is_short]).assessments
    assert assessment.columns() == {
        "response/llm_judged/short/rating": "no",
        "response/llm_judged/short/rationale": "counted",
    }
    assert overall.value == "no"
    assert is_short("a") == (True, "counted")


def test_a_scorer_is_a_metric_and_no_verdict_by_default() -> None:
    @scorer
    def shouts(response: str) -> bool:
        return response.isupper()

    (assessment,) = score(row(), [shouts]).assessments
    assert assessment.columns() == {"metric/shouts": 0.0}


async def _async(response: str) -> float:
    return 0.5


@pytest.mark.parametrize(
    ("function", "value"),
    [
        (_async, 0.5),
        (lambda response: _async(response), 0.5),
        (lambda request, response, expected_response=None: expected_response or "none", "none"),
        (lambda outputs, inputs, record, outcome: inputs["request"], "q"),
        (lambda **anything: {"value": 3, "rationale": "r"}, 3),
    ],
)
def test_a_function_receives_the_inputs_that_its_parameters_name(function: Any, value: Any) -> None:
    assert score(row(), [scorer(name="f")(function)]).assessments[0].value == value


def test_a_row_without_a_required_input_is_skipped() -> None:
    @scorer(affects_verdict=True)
    def exact(response: str, expected_response: str) -> bool:
        return response == expected_response

    scores = score(row(), [exact])
    assert scores.assessments == ()
    assert [(skip.name, skip.reason) for skip in scores.skipped] == [("exact", "expected_response")]


def test_a_function_may_return_no_score() -> None:
    assert score(row(), [scorer(name="f")(lambda response: None)]) == RowScores()


def test_a_function_that_raises_or_returns_another_type_is_an_error_of_its_scorer() -> None:
    def fail(response: str) -> bool:
        raise KeyError("text")

    bad = [
        scorer(name="a", affects_verdict=True)(fail),
        scorer(name="b", affects_verdict=True)(lambda response: object()),
    ]
    a, b, overall = score(row(), bad).assessments
    assert overall.value == "unknown"
    assert a.columns() == {
        "response/llm_judged/a/rating": None,
        "response/llm_judged/a/error_message": "KeyError: 'text'",
    }
    assert "Return True or False" in str(b.error)


def test_an_unknown_required_parameter_is_rejected_by_the_decorator() -> None:
    with pytest.raises(ConfigurationError, match=r"'answer', which no row provides.*response"):

        @scorer
        def bad(answer: str) -> bool:
            return True


def test_blocking_functions_run_concurrently() -> None:
    barrier = threading.Barrier(2, timeout=60)

    def wait(response: str) -> bool:
        barrier.wait()
        return True

    both = [scorer(name="one")(wait), scorer(name="other")(wait)]
    assert [a.value for a in score(row(), both).assessments] == [1.0, 1.0]


def test_a_prompt_judge_uses_the_judge_model_of_the_run(mlflow_store: str) -> None:
    model = ScriptedJudge()
    tone = PromptJudge("tone", "Is {response}, an answer to {{ request }}, polite?")
    result = evaluate(
        data=[{"request": "q?", "response": "a!"}],
        judge=model,
        scorers=[tone],
        evaluator_config={"databricks-agent": {"metrics": []}},
    )
    assert result.metrics["response/llm_judged/tone/percentage"] == 1.0
    assert block(model.requests[0], "response") == "a!"
    assert block(model.requests[0], "request") == "q?"
    assert "Is <response>, an answer to <request>, polite?" in str(model.requests[0][0].content)


def test_a_prompt_judge_may_have_its_own_model() -> None:
    model = ScriptedJudge(script=lambda _: verdict(4))
    depth = PromptJudge("depth", "How deep is {response}?", Numeric(0, 5), model=model)
    (assessment,) = score(row(), [depth]).assessments
    assert assessment.value == 4.0
    assert assessment.metadata["prompt_version"].startswith("depth-")


def test_a_prompt_judge_may_rate_by_category() -> None:
    model = ScriptedJudge(script=lambda _: verdict("casual"))
    tone = PromptJudge("tone", "{response}?", Categorical(("Formal", "Casual")), model=model)
    assert score(row(), [tone]).assessments[0].value == "Casual"


def test_a_changed_prompt_or_scale_has_another_version() -> None:
    def version(text: str, **more: Any) -> str:
        tone = PromptJudge("t", text, model=ScriptedJudge(script=lambda _: verdict(1)), **more)
        return score(row(), [tone]).assessments[0].metadata["prompt_version"]

    versions = [version("{response}?"), version("{response}!"), version("{response}?")]
    assert versions[0] == versions[2] != versions[1]
    assert version("{response}?", scale=Numeric(0, 1)) != versions[0]


def test_a_row_without_an_input_of_the_prompt_is_skipped() -> None:
    grounded = PromptJudge("g", "{response} in {retrieved_context}?", model=ScriptedJudge())
    assert score(row(), [grounded]).skipped[0].reason == "retrieved_context"


@pytest.mark.parametrize(
    ("instructions", "message"),
    [("Is it good?", "contain no input"), ("{answer}?", r"contain the unknown input \{answer\}")],
)
def test_a_prompt_without_a_known_input_is_rejected(instructions: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        PromptJudge("p", instructions)


def test_a_prompt_judge_without_a_model_is_rejected_before_the_run() -> None:
    with pytest.raises(ConfigurationError, match="No judge model for tone: pass judge="):
        evaluate(
            data=[{"request": "q", "response": "a"}], scorers=[PromptJudge("tone", "{response}?")]
        )


def test_two_scorers_of_the_same_column_are_rejected(mlflow_store: str) -> None:
    @scorer(name="safety", affects_verdict=True)
    def mine(response: str) -> bool:
        return True

    rows = [{"request": "q", "response": "a"}]
    with pytest.raises(ConfigurationError, match=r"Two scorers write to .*/safety'"):
        evaluate(data=rows, judge=ScriptedJudge(), scorers=[mine])
    config = {"databricks-agent": {"metrics": []}}
    own = evaluate(data=rows, judge=ScriptedJudge(), scorers=[mine], evaluator_config=config)
    assert own.metrics["response/llm_judged/safety/percentage"] == 1.0


@pytest.mark.parametrize("thing", [lambda response: True, 5, "safety", PromptJudge])
def test_an_object_that_is_not_a_scorer_is_rejected_before_the_run(thing: Any) -> None:
    with pytest.raises(ConfigurationError, match="is not a scorer"):
        evaluate(data=[{"request": "q", "response": "a"}], scorers=[thing])


@pytest.mark.parametrize("name", ["scorers", "extra_metrics"])
@pytest.mark.parametrize("thing", [scorer(name="n")(len), "safety", 5])
def test_a_scorer_that_is_not_in_a_list_is_an_error_that_names_the_argument(
    name: str, thing: Any
) -> None:
    for run in (partial(evaluate, data=[{"request": "q"}]), EvaluationCallbackHandler):
        with pytest.raises(ConfigurationError, match=rf"is not a list.*Pass {name}=\["):
            run(**{name: thing})
