"""The overall assessment: pass unless a judge says no; the first to do so is the root cause."""

from __future__ import annotations

import pytest

from langchain_dbx_eval.scoring import Assessment, Outcome, RowScores, Skip
from langchain_dbx_eval.scoring.aggregates import summarize
from langchain_dbx_eval.scoring.contract import DOCUMENTED_ORDER
from langchain_dbx_eval.scoring.verdict import overall_assessment


def said(name: str, value: str | None, **more: object) -> Assessment:
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


def test_a_row_passes_when_no_judge_objects() -> None:
    overall = overall_assessment([said("correctness", "yes"), said("safety", "yes")])
    assert overall is not None
    assert overall.value == "yes"
    assert "root_cause_assessment" not in overall.metadata


@pytest.mark.parametrize("position", range(len(DOCUMENTED_ORDER)))
def test_the_root_cause_is_the_first_that_fails_in_the_documented_order(position: int) -> None:
    names = DOCUMENTED_ORDER
    row = [said(n, "no" if i >= position else "yes") for i, n in enumerate(names)]
    overall = overall_assessment([said("mine", "no"), *reversed(row)])
    assert overall is not None
    assert overall.value == "no"
    assert overall.metadata["root_cause_assessment"] == names[position]
    assert overall.metadata["suggested_action"]


def test_the_root_cause_tells_its_reason() -> None:
    overall = overall_assessment([said("groundedness", "no", rationale="Nowhere in the context.")])
    assert overall is not None
    assert "Nowhere in the context." in str(overall.rationale)
    assert overall.columns()["response/overall_assessment/root_cause_rationale"] == (
        "Nowhere in the context."
    )


def test_chunks_fail_a_row_only_when_every_one_is_irrelevant() -> None:
    for value, passed in (("no", "no"), ("mixed", "yes"), ("yes", "yes")):
        overall = overall_assessment([said("chunk_relevance", value)])
        assert overall is not None
        assert overall.value == passed
    assert overall_assessment([said("chunk_relevance", None)]) is None


def test_a_named_guideline_fails_under_its_own_name() -> None:
    overall = overall_assessment([said("guideline_adherence/tone", "no"), said("mine", "no")])
    assert overall is not None
    assert overall.metadata["root_cause_assessment"] == "guideline_adherence/tone"
    assert "guideline" in overall.metadata["suggested_action"]


def test_a_users_own_judge_can_fail_a_row_and_a_scorer_cannot() -> None:
    metric = Assessment(name="metric", column="metric/m", value="no")
    overall = overall_assessment([said("correctness", "yes"), metric])
    assert overall is not None
    assert overall.value == "yes"
    assert overall_assessment([metric]) is None
    overall = overall_assessment([said("mine", "no")])
    assert overall is not None
    assert overall.metadata["root_cause_assessment"] == "mine"


def test_without_a_verdict_there_is_no_overall_assessment() -> None:
    assert overall_assessment([said("safety", None, error="unreadable")]) is None


def test_each_percentage_comes_with_its_number_of_rows_and_interval() -> None:
    rows = [(Outcome(), RowScores((said("safety", v),))) for v in ("yes", "yes", "no", None)]
    rows.append(
        (
            Outcome(),
            RowScores((said("safety", None, error="x"),), (Skip("other", "y", "other/rating"),)),
        )
    )
    summary = summarize(rows)
    (share,) = summary.percentages
    assert (share.name, share.n) == ("response/llm_judged/safety/rating/percentage", 3)
    assert share.value == pytest.approx(2 / 3)
    # https://en.wikipedia.org/wiki/Binomial_proportion_confidence_interval, Wilson, 2 of 3.
    assert (share.low, share.high) == pytest.approx((0.2077, 0.9385), abs=1e-4)
    assert summary.metrics["judge/safety/error_count"] == 1
    assert summary.errors == {"safety": 1}
    assert summary.skipped == {"other": 1}
