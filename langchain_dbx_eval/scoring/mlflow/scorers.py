"""Our scorers among MLflow's, and MLflow's among ours."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_dbx_eval._internal.extras import require
from langchain_dbx_eval.datasets import EvalRecord
from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.scoring.assessments import Assessment, Skip
from langchain_dbx_eval.scoring.context import AnyScorer, Outcome, ScoringContext
from langchain_dbx_eval.scoring.custom import PromptJudge
from langchain_dbx_eval.scoring.judges.backend_resolver import judge_backend
from langchain_dbx_eval.scoring.mlflow.traces import outcome_of_trace, trace_of
from langchain_dbx_eval.scoring.score_row import score

if TYPE_CHECKING:
    from mlflow.entities import Feedback
    from mlflow.genai.scorers import Scorer as MlflowGenaiScorer

__all__ = ["MlflowScorer", "as_mlflow_scorer", "as_scorer"]


@dataclass(frozen=True)
class MlflowScorer:
    """A scorer of ``mlflow.genai`` (built-in, `make_judge`, `@scorer`) as one of ours.

    Its values are in the columns ``<name>/value|rationale|error_message``, as `mlflow.genai`
    writes them. One that asks for a trace is given the record's, or one that holds what is known of
    the row: request, response, retrieved documents.
    """

    scorer: Any
    leaf: str = "value"

    @property
    def name(self) -> str:
        """See `Scorer.name`."""
        return str(self.scorer.name)

    @property
    def column(self) -> str:
        """See `Scorer.column`."""
        return self.name

    async def ascore(self, context: ScoringContext) -> Sequence[Assessment | Skip]:
        """Assess one row, in a thread."""
        said = await asyncio.to_thread(self._run, context)
        feedbacks = said if isinstance(said, list) else [said]
        return [self._assessment(feedback) for feedback in feedbacks if feedback is not None]

    def _run(self, context: ScoringContext) -> Any:
        return self.scorer.run(
            inputs=context.record.inputs,
            outputs=context.response_text,
            expectations=context.record.expectations,
            trace=trace_of(context),
        )

    def _assessment(self, feedback: Any) -> Assessment:
        is_feedback = hasattr(feedback, "feedback") and hasattr(feedback, "rationale")
        value = feedback.value if is_feedback else feedback
        if isinstance(value, bool):
            value = "yes" if value else "no"
        # An unnamed feedback of a `@scorer` is called "feedback".
        told = getattr(feedback, "name", None)
        name = told if told and told != "feedback" else self.name
        source = getattr(getattr(feedback, "source", None), "source_type", "CODE")
        error = getattr(feedback, "error", None) if is_feedback else None
        return Assessment(
            name=name,
            column=name,
            leaf=self.leaf,
            value=None if error is not None else getattr(value, "value", value),
            rationale=feedback.rationale if is_feedback else None,
            error=None if error is None else str(error.error_message or error.error_code),
            source="LLM_JUDGE" if source == "LLM_JUDGE" else "CODE",
        )


def as_scorer(scorer: Any) -> AnyScorer:
    """Take a scorer of ours as it is, and one of ``mlflow.genai`` as one of ours.

    Raises:
        ConfigurationError: It is neither.
    """
    base = sys.modules.get("mlflow.genai.scorers.base")
    if base is not None and isinstance(scorer, base.Scorer):
        return MlflowScorer(scorer)
    is_ours = hasattr(scorer, "score") or hasattr(scorer, "ascore")
    if is_ours and not isinstance(scorer, type) and hasattr(scorer, "name"):
        found: AnyScorer = scorer
        return found
    hint = " Make one of a function with @scorer or @judge." if callable(scorer) else ""
    msg = f"{scorer!r:.100} is no scorer: it has no name and no score(context) or ascore.{hint}"
    raise ConfigurationError(msg)


def as_mlflow_scorer(scorer: AnyScorer, *, judge: Any = None) -> MlflowGenaiScorer:
    """Hand one of our scorers or judges to `mlflow.genai.evaluate`.

    Args:
        scorer: A scorer of ours.
        judge: Who judges, for a `PromptJudge` without a model of its own.

    Returns:
        A scorer of ``mlflow.genai``. A row in which ours is skipped has no feedback of it.

    Raises:
        MissingDependencyError: MLflow is not installed.
        ConfigurationError: The judge needs a model and has none.
    """
    genai = require("mlflow.genai", extra="eval")
    if isinstance(scorer, PromptJudge) and judge is not None:
        scorer = scorer.asked_of(judge_backend(judge))
    if isinstance(scorer, PromptJudge) and scorer.backend is None:
        msg = f"Judge {scorer.name!r} has no model: give it model=…, or judge= here."
        raise ConfigurationError(msg)

    def run(inputs: Any, outputs: Any, expectations: Any = None, trace: Any = None) -> Any:
        row = {"inputs": inputs, "expectations": expectations or {}}
        of_trace = outcome_of_trace(trace) if trace is not None else Outcome()
        outcome = Outcome(
            response=outputs if outputs is not None else of_trace.response,
            retrieved_context=of_trace.retrieved_context,
        )
        context = ScoringContext(EvalRecord.from_row(row), outcome)
        said = score(context, [scorer]).assessments
        return [_feedback(one) for one in said if one.name != "overall_assessment"]

    wrapped: MlflowGenaiScorer = genai.scorer(run, name=scorer.name)
    return wrapped


def _feedback(assessment: Assessment) -> Feedback:
    from mlflow.entities import AssessmentError, AssessmentSource, Feedback

    error = None
    if assessment.error is not None:
        error = AssessmentError(error_code="SCORER_ERROR", error_message=assessment.error)
    return Feedback(
        name=assessment.name,
        value=assessment.value,
        rationale=assessment.rationale,
        error=error,
        source=AssessmentSource(source_type=assessment.source, source_id="langchain-dbx-eval"),
        metadata=dict(assessment.metadata),
    )
