"""The names of Agent Evaluation: judges, columns and metrics, in one place.

The source of each name is the public documentation of Mosaic AI Agent Evaluation for MLflow 2
(databricks-agents 0.22): "How to run an evaluation and view the results", "How quality, cost, and
latency are assessed", "Agent Evaluation input schema". ``tests/scoring/test_contract.py`` holds the
whole list, and fails when a name is missing or has changed.
"""

from __future__ import annotations

__all__ = [
    "BUILT_IN_JUDGES",
    "CUSTOM_JUDGE_FAMILY",
    "DOCUMENTED_ORDER",
    "FAMILIES",
    "METRIC_FAMILY",
    "OUTCOME_COLUMNS",
    "OVERALL_ASSESSMENT",
    "WITHOUT_GROUND_TRUTH",
    "WITH_GROUND_TRUTH",
    "canonical_metric",
]

CUSTOM_JUDGE_FAMILY = "response/llm_judged"
"""A user's own judge writes to ``response/llm_judged/<name>/rating``."""

METRIC_FAMILY = "metric"
"""A user's own scorer writes to ``metric/<name>``."""

FAMILIES = {
    "correctness": "response/llm_judged",
    "groundedness": "response/llm_judged",
    "relevance_to_query": "response/llm_judged",
    "safety": "response/llm_judged",
    "guideline_adherence": "response/llm_judged",
    "global_guideline_adherence": "response/llm_judged",
    "chunk_relevance": "retrieval/llm_judged",
    "context_sufficiency": "retrieval/llm_judged",
}
"""By judge, what its columns begin with."""

BUILT_IN_JUDGES = tuple(sorted(FAMILIES))
"""The names that ``evaluator_config`` knows."""

# "Which judges are run", in the reference page.
WITH_GROUND_TRUTH = frozenset({"correctness", "groundedness", "safety", "context_sufficiency"})
WITHOUT_GROUND_TRUTH = frozenset({"groundedness", "relevance_to_query", "safety"}) | {
    "chunk_relevance"
}

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
"""The first of these that fails is the root cause."""

OVERALL_ASSESSMENT = "response/overall_assessment"

OUTCOME_COLUMNS = (
    "agent/latency_seconds",
    "agent/total_token_count",
    "agent/total_input_token_count",
    "agent/total_output_token_count",
    # Ours; in a row only where its call was streamed.
    "agent/time_to_first_token_seconds",
)


def canonical_metric(name: str) -> str:
    """A metric's own name for a spelling of it that the documentation page uses.

    The page reads ``response/llm_judged/groundedness/percentage``; what is written is
    ``response/llm_judged/groundedness/rating/percentage``.

    Args:
        name: Either spelling.
    """
    stem = name.removesuffix("/percentage")
    return name if stem == name or stem.endswith("/rating") else f"{stem}/rating/percentage"
