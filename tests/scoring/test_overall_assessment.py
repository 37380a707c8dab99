"""The overall assessment: a row passes unless a judge fails it; the first one is the root cause."""

from __future__ import annotations

import pytest

from langchain_dbx_eval.datasets import EvalRecord
from langchain_dbx_eval.scoring import (
    Assessment,
    Numeric,
    Outcome,
    PromptJudge,
    ScoringContext,
    Skip,
    score,
)
from langchain_dbx_eval.scoring.assessments import ScorerOutput
from langchain_dbx_eval.scoring.judges.builtin import BUILT_IN_JUDGES
from langchain_dbx_eval.scoring.overall_assessment import overall_assessment
from tests.scoring.scripted_judge import ScriptedJudge

# Databricks, "Agent Evaluation: how quality is assessed", root cause.
DOCUMENTED_ORDER = (
    "context_sufficiency",
    "chunk_relevance",
    "groundedness",
    "correctness",
    "relevance_to_query",
    "safety",
    "guideline_adherence",
    "global_guideline_adherence",
)


def rated(name: str, value: str | None, **more: object) -> Assessment:
    if name == "chunk_relevance":
        column = "retrieval/llm_judged/chunk_relevance"
        ratings = [value, value] if value != "mixed" else ["yes", "no"]
        more["extra_columns"] = {f"{column}/ratings": ratings}
        return Assessment(name=name, column=column, source="LLM_JUDGE", **more)  # type: ignore[arg-type]
    return Assessment(
        name=name,
        column=f"response/llm_judged/{name}",
        leaf="rating",
        value=value,
        source="LLM_JUDGE",
        **more,  # type: ignore[arg-type]
    )


def test_a_row_passes_if_all_judges_pass_it() -> None:
    overall = overall_assessment([rated("correctness", "yes"), rated("safety", "yes")])
    assert overall is not None
    assert overall.value == "yes"
    assert "root_cause_assessment" not in overall.metadata


@pytest.mark.parametrize("position", range(len(DOCUMENTED_ORDER)))
def test_the_root_cause_is_the_first_failing_judge_in_documented_order(position: int) -> None:
    names = DOCUMENTED_ORDER
    assert tuple(BUILT_IN_JUDGES) == names
    row = [rated(n, "no" if i >= position else "yes") for i, n in enumerate(names)]
    overall = overall_assessment([rated("mine", "no"), *reversed(row)])
    assert overall is not None
    assert overall.value == "no"
    assert overall.metadata["root_cause_assessment"] == names[position]
    assert overall.metadata["suggested_action"]


def test_the_rationale_of_the_root_cause_is_reported() -> None:
    overall = overall_assessment([rated("groundedness", "no", rationale="Nowhere in the context.")])
    assert overall is not None
    assert "Nowhere in the context." in str(overall.rationale)
    assert overall.columns()["response/overall_assessment/root_cause_rationale"] == (
        "Nowhere in the context."
    )


def test_chunk_relevance_fails_a_row_only_if_every_chunk_is_irrelevant() -> None:
    for value, passed in (("no", "no"), ("mixed", "yes"), ("yes", "yes")):
        overall = overall_assessment([rated("chunk_relevance", value)])
        assert overall is not None
        assert overall.value == passed
    assert overall_assessment([rated("chunk_relevance", None)]) is None


def test_a_named_group_of_guidelines_fails_under_its_own_name() -> None:
    overall = overall_assessment([rated("guideline_adherence/tone", "no"), rated("mine", "no")])
    assert overall is not None
    assert overall.metadata["root_cause_assessment"] == "guideline_adherence/tone"
    assert "guideline" in overall.metadata["suggested_action"]


def test_a_custom_judge_can_fail_a_row_and_a_scorer_cannot() -> None:
    metric = Assessment(name="metric", column="metric/m", value="no")
    overall = overall_assessment([rated("correctness", "yes"), metric])
    assert overall is not None
    assert overall.value == "yes"
    assert overall_assessment([metric]) is None
    overall = overall_assessment([rated("mine", "no")])
    assert overall is not None
    assert overall.metadata["root_cause_assessment"] == "mine"


def test_an_error_of_a_judge_makes_the_assessment_unknown_unless_another_fails_the_row() -> None:
    error = rated("safety", None, error="unreadable")
    for others, value in (
        ([], "unknown"),
        ([rated("correctness", "yes")], "unknown"),
        ([rated("correctness", "yes"), rated("mine", "no")], "no"),
    ):
        overall = overall_assessment([*others, error])
        assert overall is not None
        assert overall.value == value
        assert overall.number == {"no": 0.0, "unknown": None}[value]
    assert "safety" in str(overall_assessment([error]).rationale)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("ratings", "value"),
    [(["no", None], "unknown"), (["yes", None], "yes"), ([None], "unknown")],
)
def test_a_chunk_without_a_verdict_may_be_the_relevant_one(
    ratings: list[str | None], value: str
) -> None:
    column = "retrieval/llm_judged/chunk_relevance"
    chunks = Assessment(
        name="chunk_relevance",
        column=column,
        source="LLM_JUDGE",
        error="1 chunk has no verdict",
        extra_columns={f"{column}/ratings": ratings},
    )
    overall = overall_assessment([chunks])
    assert overall is not None
    assert overall.value == value


class Broken:
    name = "broken"
    column = "response/llm_judged/broken"
    leaf = "rating"

    def score(self, context: ScoringContext) -> ScorerOutput:
        raise KeyError("x")


def test_a_judge_that_raises_is_one_without_a_verdict() -> None:
    row = ScoringContext(EvalRecord(request="q"), Outcome(response="a"))
    numeric = PromptJudge(
        "depth",
        "How deep is {response}?",
        Numeric(1, 5),
        model=ScriptedJudge(script=lambda _: "Well."),
    )
    broken, overall = score(row, [Broken()]).assessments
    assert (broken.error, overall.value) == ("KeyError: 'x'", "unknown")
    # A judge that rates a number fails no row.
    [depth] = score(row, [numeric]).assessments
    assert depth.error is not None


def test_without_a_judge_there_is_no_overall_assessment() -> None:
    assert overall_assessment([], [Skip("safety", "response", "")]) is None
