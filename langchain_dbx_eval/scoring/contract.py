"""Column and metric names of Agent Evaluation that do not belong to one judge or metric.

The source of each name is the public documentation of Mosaic AI Agent Evaluation for MLflow 2
(databricks-agents 0.22): "How to run an evaluation and view the results", "How quality, cost, and
latency are assessed", "Agent Evaluation input schema". ``tests/scoring/test_contract.py`` lists all
documented names, those of the judges (`judges.builtin`) included, and fails if one is missing.
"""

from __future__ import annotations

__all__ = [
    "METRIC_FAMILY",
    "OUTCOME_COLUMNS",
    "OVERALL_ASSESSMENT",
    "RESPONSE_JUDGE_FAMILY",
    "RETRIEVAL_JUDGE_FAMILY",
]

RESPONSE_JUDGE_FAMILY = "response/llm_judged"
"""Column prefix of judges of the response, custom judges included."""

RETRIEVAL_JUDGE_FAMILY = "retrieval/llm_judged"
"""Column prefix of judges of the retrieved documents."""

METRIC_FAMILY = "metric"
"""Column prefix of custom scorers that do not affect the verdict."""

OVERALL_ASSESSMENT = "response/overall_assessment"

OUTCOME_COLUMNS = (
    "agent/latency_seconds",
    "agent/total_token_count",
    "agent/total_input_token_count",
    "agent/total_output_token_count",
    # Not in the documentation; only in rows whose call was streamed, or whose models have prices.
    "agent/time_to_first_token_seconds",
    "agent/cost_usd",
)
