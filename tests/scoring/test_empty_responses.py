"""An empty response is no answer: it scores 0, and no judge model is asked about it."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding

from langchain_dbx_eval.datasets import EvalRecord
from langchain_dbx_eval.scoring import (
    Bleu,
    ChrF,
    EmbeddingSimilarity,
    ExactMatch,
    Outcome,
    PromptJudge,
    RegexMatch,
    RougeL,
    ScoringContext,
    TokenF1,
    ValidJson,
    score,
    scorer,
)
from langchain_dbx_eval.scoring.judges.builtin import BUILT_IN_JUDGES
from langchain_dbx_eval.scoring.selection import built_in_judges
from tests.scoring.scripted_judge import ScriptedJudge

EMPTY = [None, "", " \n"]
CHUNKS = [{"doc_uri": "a.md", "content": "text"}]


def empty(response: Any, expected: str = "the") -> ScoringContext:
    record = EvalRecord(request="q", expected_response=expected, guidelines=["Be polite."])
    return ScoringContext(record, Outcome(response=response, retrieved_context=CHUNKS))


DETERMINISTIC = [
    # Without articles and punctuation, the expected "the" is empty too.
    ExactMatch(),
    TokenF1(),
    RougeL(),
    Bleu(),
    ChrF(),
    EmbeddingSimilarity(DeterministicFakeEmbedding(size=8)),
    ValidJson(),
    RegexMatch(r"\A\s*\Z"),
]


@pytest.mark.parametrize("response", EMPTY)
@pytest.mark.parametrize("metric", DETERMINISTIC, ids=lambda metric: metric.name)
def test_an_empty_response_scores_0(metric: Any, response: Any) -> None:
    [assessment] = score(empty(response), [metric]).assessments
    assert assessment.value == 0.0


@pytest.mark.parametrize("response", EMPTY)
def test_an_empty_response_is_right_if_none_is_expected(response: Any) -> None:
    for metric in DETERMINISTIC[:-2]:
        [assessment] = score(empty(response, expected=" "), [metric]).assessments
        assert assessment.value == 1.0


def test_a_function_receives_the_empty_text() -> None:
    @scorer
    def length(response: str) -> int:
        return len(response)

    assert score(empty(None), [length]).assessments[0].value == 0


def test_a_function_without_outputs_to_rate_fails_the_row_if_it_affects_the_verdict() -> None:
    def is_dict(outputs: Any) -> bool:
        return isinstance(outputs, dict)

    passing = scorer(name="fine", affects_verdict=True)(lambda record: True)
    row = empty(None)
    *_, overall = score(row, [passing, scorer(affects_verdict=True)(is_dict)]).assessments
    assert overall.value == "no"
    *_, overall = score(row, [passing, scorer(is_dict)]).assessments
    assert overall.value == "yes"


@pytest.mark.parametrize("response", EMPTY)
def test_judges_of_the_response_do_not_run_on_an_empty_one(response: Any) -> None:
    judge = ScriptedJudge()
    names = [name for name in BUILT_IN_JUDGES if name != "global_guideline_adherence"]
    mine = PromptJudge("tone", "Is {response} polite?", model=judge)
    scores = score(empty(response), [*built_in_judges(judge, names), mine])
    # The retrieval is rated all the same.
    assert judge.requested_judges == ["chunk_relevance", "context_sufficiency"]
    ratings = {a.name: a.value for a in scores.assessments}
    assert (ratings["correctness"], ratings["relevance_to_query"]) == ("no", "no")
    without_rating = {skip.name for skip in scores.skipped}
    assert without_rating == {"groundedness", "safety", "guideline_adherence", "tone"}
    assert {skip.reason for skip in scores.skipped} == {"response (it is empty)"}
    assert ratings["overall_assessment"] == "no"


def test_a_row_with_an_empty_response_never_passes() -> None:
    judge = ScriptedJudge()
    scores = score(empty(None), built_in_judges(judge, ["context_sufficiency", "safety"]))
    overall = scores.assessments[-1]
    assert (overall.value, overall.metadata["root_cause_assessment"]) == ("no", "safety")
    assert overall.metadata["root_cause_rationale"] == "The response is empty."
