"""Metrics that a library computes too have the same values."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.embeddings import DeterministicFakeEmbedding
from rouge_score import rouge_scorer
from sacrebleu import corpus_chrf, sentence_bleu
from scipy.stats import binomtest
from sklearn.metrics import ndcg_score, recall_score

from langchain_dbx_eval import EvalRecord
from langchain_dbx_eval.scoring import (
    Bleu,
    ChrF,
    DocumentPrecision,
    DocumentRecall,
    EmbeddingSimilarity,
    Outcome,
    ReciprocalRank,
    RegexMatch,
    RetrievalNdcg,
    RougeL,
    Scorer,
    ScoringContext,
    ValidJson,
    score,
)
from langchain_dbx_eval.scoring.statistics import wilson_interval

DOCUMENTS = list("abcdefgh")


def retrieval(expected: list[str], retrieved: list[str]) -> ScoringContext:
    record = EvalRecord(request="q", expected_retrieved_context=[{"doc_uri": u} for u in expected])
    chunks = [{"doc_uri": uri} for uri in retrieved]
    return ScoringContext(record, Outcome(response="a", retrieved_context=chunks))


def answered(answer: str, expected: str = "") -> ScoringContext:
    return ScoringContext(
        EvalRecord(request="q", expected_response=expected), Outcome(response=answer)
    )


def value_of(scorer: Scorer, row: ScoringContext) -> float:
    value = scorer.score(row)[0].value  # type: ignore[union-attr]
    assert isinstance(value, float)
    return value


@given(
    st.lists(st.sampled_from(DOCUMENTS), min_size=1, unique=True),
    st.lists(st.sampled_from(DOCUMENTS), min_size=1, unique=True),
)
@settings(max_examples=50)
def test_recall_and_ndcg_equal_those_of_scikit_learn(
    expected: list[str], retrieved: list[str]
) -> None:
    row = retrieval(expected, retrieved)
    truth = [int(d in expected) for d in DOCUMENTS]
    found = [int(d in retrieved) for d in DOCUMENTS]
    # Documents that were not retrieved rank last.
    ranks = [len(retrieved) - retrieved.index(d) if d in retrieved else 0 for d in DOCUMENTS]
    assert value_of(DocumentRecall(), row) == pytest.approx(recall_score(truth, found))
    ndcg = ndcg_score([truth], [ranks], k=len(retrieved))
    assert value_of(RetrievalNdcg(), row) == pytest.approx(ndcg)


# Calculated by hand: of the two expected documents only "d" is retrieved, on the third rank.
def test_precision_and_reciprocal_rank_of_a_worked_example() -> None:
    row = retrieval(["d", "x"], ["a", "a", "b", "d"])
    assert value_of(DocumentPrecision(), row) == pytest.approx(1 / 3)
    assert value_of(ReciprocalRank(), row) == pytest.approx(1 / 3)
    assert value_of(ReciprocalRank(), retrieval(["d"], ["a"])) == 0.0


@pytest.mark.parametrize("scorer", [DocumentPrecision(), ReciprocalRank(), RetrievalNdcg()])
def test_an_empty_retrieval_scores_0_and_no_retriever_has_no_score(scorer: Any) -> None:
    assert value_of(scorer, retrieval(["a"], [])) == 0.0
    assert scorer.score(answered("a")) == []


TEXTS = [
    ("The quick brown fox jumps over the lazy dog.", "A quick brown dog jumps on the log."),
    ("one two three", "three two one"),
    ("same here", "same here"),
    ("x", "y"),
]


@pytest.mark.parametrize(("expected", "answer"), TEXTS)
def test_rouge_bleu_and_chrf_equal_those_of_their_libraries(expected: str, answer: str) -> None:
    row = answered(answer, expected)
    rouge = rouge_scorer.RougeScorer(["rougeL"]).score(expected, answer)["rougeL"].fmeasure
    assert value_of(RougeL(), row) == pytest.approx(rouge)
    bleu = sentence_bleu(answer, [expected], use_effective_order=True).score / 100
    assert value_of(Bleu(), row) == pytest.approx(bleu)
    chrf = corpus_chrf([answer], [[expected]]).score / 100
    assert value_of(ChrF(), row) == pytest.approx(chrf, abs=1e-6)


def test_rouge_and_chrf_support_korean() -> None:
    row = answered("서울은 한국의 수도이다", "한국의 수도는 서울이다")
    # The longest common sequence of words is 한국의: 1 of 3 and 1 of 3.
    assert value_of(RougeL(), row) == pytest.approx(1 / 3)
    assert 0 < value_of(ChrF(), row) < 1


def test_embedding_similarity_is_the_cosine_of_the_vectors() -> None:
    embeddings = DeterministicFakeEmbedding(size=8)
    expected, answer = (np.array(v) for v in embeddings.embed_documents(["expected", "answer"]))
    cosine = expected @ answer / np.linalg.norm(expected) / np.linalg.norm(answer)
    row = answered("answer", "expected")
    assert score(row, [EmbeddingSimilarity(embeddings)]).assessments[0].value == pytest.approx(
        cosine
    )


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (5, 10), (98, 100), (0, 40), (3, 7)])
def test_the_wilson_interval_equals_that_of_scipy(successes: int, n: int) -> None:
    theirs = binomtest(successes, n).proportion_ci(method="wilson")
    assert wilson_interval(successes, n) == pytest.approx((theirs.low, theirs.high))


SCHEMA = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("answer", "schema", "value", "rationale"),
    [
        (json.dumps({"n": 1}), SCHEMA, 1.0, None),
        (json.dumps({"n": "1"}), SCHEMA, 0.0, "At $.n"),
        (json.dumps({}), SCHEMA, 0.0, "'n' is a required property"),
        ("[1, 2]", None, 1.0, None),
        ("{'n': 1}", None, 0.0, "Not JSON"),
        ("[" * 100_000, None, 0.0, "Not JSON"),
    ],
)
def test_valid_json_conforms_to_its_schema(
    answer: str, schema: Any, value: float, rationale: str | None
) -> None:
    (assessment,) = ValidJson(schema).score(answered(answer))
    assert assessment.value == value
    assert (rationale or "None") in str(assessment.rationale)


def test_a_pattern_matches_anywhere_in_the_response() -> None:
    assert value_of(RegexMatch(r"\d{4}"), answered("in 1927")) == 1.0
    assert value_of(RegexMatch(r"\A\d{4}\Z"), answered("in 1927")) == 0.0
