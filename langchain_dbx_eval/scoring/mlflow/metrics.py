"""The ``extra_metrics`` of Agent Evaluation: metrics of MLflow and of databricks-agents."""

from __future__ import annotations

import asyncio
import inspect
import sys
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from langchain_dbx_eval._internal.event_loop import call_in_thread
from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.scoring.assessments import NO_VERDICT, Assessment, ScorerOutput, Skip
from langchain_dbx_eval.scoring.context import ScoringContext
from langchain_dbx_eval.scoring.contract import (
    METRIC_FAMILY,
    RESPONSE_JUDGE_FAMILY,
    RETRIEVAL_JUDGE_FAMILY,
)
from langchain_dbx_eval.scoring.custom import FunctionScorer
from langchain_dbx_eval.scoring.judges.protocol import Verdict
from langchain_dbx_eval.scoring.judges.scorer import chunk_assessment
from langchain_dbx_eval.scoring.mlflow.traces import tool_calls_of, trace_of
from langchain_dbx_eval.scoring.results import ResultReader, aggregation_metadata

__all__ = ["AgentMetric", "GenaiMetric", "as_metric_scorer"]

_JUDGES = "databricks.rag_eval.callable_builtin_judges"
_TYPES = ("ANSWER", "RETRIEVAL", "RETRIEVAL_LIST")


def as_metric_scorer(metric: Any) -> FunctionScorer | AgentMetric | GenaiMetric | None:
    """Convert a metric that is not a scorer; None if it is not such a metric.

    Args:
        metric: A metric of ``make_genai_metric``, ``make_genai_metric_from_prompt`` or
            ``make_metric``; a function that ``databricks.agents.evals.metric`` decorated; or a
            function of ``databricks.agents.evals.judges``.

    Raises:
        ConfigurationError: The metadata of the metric are invalid.
    """
    mlflow_base = sys.modules.get("mlflow.models.evaluation.base")
    if mlflow_base is not None and isinstance(metric, mlflow_base.EvaluationMetric):
        return GenaiMetric(metric)
    agents = sys.modules.get("databricks.rag_eval.evaluation.custom_metrics")
    if agents is not None and isinstance(metric, agents.CustomMetric):
        return AgentMetric(metric)
    if inspect.isfunction(metric) and metric.__module__ == _JUDGES:
        return FunctionScorer(metric, metric.__name__, affects_verdict=True)
    return None


@dataclass(frozen=True)
class GenaiMetric:
    """A metric of MLflow 2, such as ``make_genai_metric``, as a `Scorer`.

    With ``metric_metadata={"assessment_type": "ANSWER"}`` (or ``RETRIEVAL_LIST``) it is a custom
    judge of Agent Evaluation: "yes" if the score reaches ``score_threshold`` (3), in the columns
    ``<family>/<name>/rating|rationale|error_message|score``. ``RETRIEVAL`` rates each chunk.
    Without an assessment type it is a number, in ``metric/<name>/score``, with its aggregations.

    Attributes:
        metric: The metric.
        definition: Its prompt and model, by which a resumed evaluation notices a change.
    """

    metric: Any
    definition: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "definition", self.metric.genai_metric_args)
        if self._type not in (None, *_TYPES):
            msg = (
                f"The metric {self.name!r} has the assessment_type {self._type!r} in its "
                f"metric_metadata. Supported: {', '.join(_TYPES)}."
            )
            raise ConfigurationError(msg)
        aggregation_metadata(self.name, self._aggregations)

    @property
    def name(self) -> str:
        """See `Scorer.name`."""
        return str(self.metric.name)

    @property
    def column(self) -> str:
        """See `Scorer.column`."""
        if self._type is None:
            return f"{METRIC_FAMILY}/{self.name}"
        is_answer = self._type == "ANSWER"
        return f"{RESPONSE_JUDGE_FAMILY if is_answer else RETRIEVAL_JUDGE_FAMILY}/{self.name}"

    @property
    def leaf(self) -> str:
        """See `Assessment.leaf`."""
        return {None: "score", "RETRIEVAL": "precision"}.get(self._type, "rating")

    async def score(self, context: ScoringContext) -> ScorerOutput:
        """See `Scorer.score`."""
        chunks = context.retrieved_texts
        if self._type == "RETRIEVAL":
            if not chunks:
                return [Skip(self.name, "retrieved_context", f"{self.column}/{self.leaf}")]
            rated = await asyncio.gather(
                *(call_in_thread(self._rate, context, chunk) for chunk in chunks)
            )
            verdicts = [verdict for verdict, _ in rated]
            assessment = chunk_assessment(self._assessment(verdicts[0]), verdicts)
            scores = {f"{self.column}/scores": [score for _, score in rated]}
            return [replace(assessment, extra_columns={**assessment.extra_columns, **scores})]
        # databricks-agents joins the chunks so (`concat_chunk_content`).
        verdict, score = await call_in_thread(self._rate, context, "\n".join(chunks) or None)
        columns = {} if self._type is None else {f"{self.column}/score": score}
        return [replace(self._assessment(verdict), extra_columns=columns)]

    def _rate(self, context: ScoringContext, retrieved: str | None) -> tuple[Verdict, float | None]:
        """Return the verdict on a row, or on one of its chunks, and the metric's score."""
        import pandas as pd

        values = {
            ("request", "inputs", "input"): context.request_text,
            ("response", "predictions", "output"): context.response_text,
            ("retrieved_context", "context"): retrieved,
            ("expected_response", "targets", "ground_truth"): context.record.expected_response,
        }
        # Columns of the data that the prompt of the metric names.
        given = {**context.record.metadata, **context.expectations}
        given |= {name: value for names, value in values.items() for name in names}
        arguments = {
            name: pd.Series([given[name]])
            for name in inspect.signature(self.metric).parameters
            if given.get(name) is not None
        }
        result = self.metric(**arguments)
        score = (result.scores or [None])[0]
        rationale = (result.justifications or [None])[0]
        if result.scores is None and result.aggregate_results:
            # MLflow's metrics without a judge, such as `exact_match`.
            error = "The metric returned no score of a row, only aggregates. Use a scorer instead."
            return Verdict(error=error), None
        if not isinstance(score, int | float):
            return Verdict(error=str(rationale or f"The metric returned {score!r}.")), None
        if self._type is None:
            return Verdict(value=float(score), rationale=rationale), score
        threshold = self._metadata.get("score_threshold", 3)
        passed = score >= threshold if self.metric.greater_is_better else score <= threshold
        return Verdict(value="yes" if passed else "no", rationale=rationale), score

    def _assessment(self, verdict: Verdict) -> Assessment:
        no_verdict = {} if self._type == "ANSWER" or verdict.error is None else {NO_VERDICT: "true"}
        return Assessment(
            name=self.name,
            column=self.column,
            leaf=self.leaf,
            value=verdict.value,
            rationale=verdict.rationale,
            error=verdict.error,
            source="LLM_JUDGE",
            metadata=aggregation_metadata(self.name, self._aggregations) | no_verdict,
        )

    @property
    def _metadata(self) -> dict[str, Any]:
        return self.metric.metric_metadata or {}

    @property
    def _type(self) -> str | None:
        kind = self._metadata.get("assessment_type")
        return None if kind is None else str(getattr(kind, "value", kind)).upper()

    @property
    def _aggregations(self) -> Any:
        if self._type is not None:
            return None
        return (self.metric.genai_metric_args or {}).get("aggregations")


@dataclass(frozen=True)
class AgentMetric:
    """A function that ``databricks.agents.evals.metric`` decorated, as a `Scorer`.

    It is called with the arguments that databricks-agents passes. Its columns are those of
    `scorer`: ``metric/<name>``, ``/rationale`` and ``/error_message``.
    """

    metric: Any

    def __post_init__(self) -> None:
        aggregation_metadata(self.name, self.metric.aggregations)

    @property
    def name(self) -> str:
        """See `Scorer.name`."""
        return str(self.metric.name)

    @property
    def column(self) -> str:
        """See `Scorer.column`."""
        return f"{METRIC_FAMILY}/{self.name}"

    async def score(self, context: ScoringContext) -> ScorerOutput:
        """Score one row in a thread."""
        return self._reader.read(await call_in_thread(self._run, context))

    @cached_property
    def _reader(self) -> ResultReader:
        metadata = aggregation_metadata(self.name, self.metric.aggregations)
        return ResultReader(name=self.name, family=METRIC_FAMILY, metadata=metadata)

    def _run(self, context: ScoringContext) -> Any:
        from databricks.agents.evals import ToolCallInvocation

        record, response = context.record, context.outcome.response
        request = record.request
        if isinstance(request, str):
            request = {"messages": [{"role": "user", "content": request}]}
        given = {
            "request_id": record.request_id,
            "request": request,
            "response": response,
            "retrieved_context": context.outcome.retrieved_context,
            "expected_response": record.expected_response,
            "expected_facts": record.expected_facts,
            "guidelines": record.guidelines,
            "expected_retrieved_context": record.expected_retrieved_context,
            "custom_expected": record.custom_expected,
            "custom_inputs": request.get("custom_inputs") if isinstance(request, dict) else None,
            "custom_outputs": response.get("custom_outputs")
            if isinstance(response, dict)
            else None,
            "trace": trace_of(context),
            "tool_calls": [
                ToolCallInvocation(
                    tool_name=call["name"],
                    tool_call_args=call["arguments"],
                    tool_call_result=call["result"],
                )
                for call in tool_calls_of(context)
            ],
        }
        signature = inspect.getfullargspec(self.metric.eval_fn)
        wanted = {*signature.args, *signature.kwonlyargs}
        if signature.varkw:
            wanted = set(given)
        return self.metric.eval_fn(**{k: v for k, v in given.items() if k in wanted})
