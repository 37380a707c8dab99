"""Conversion between the scorers of this package and those of ``mlflow.genai``."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_dbx_eval._internal.extras import require
from langchain_dbx_eval.datasets import EvalRecord
from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.scoring.assessments import Assessment, ScorerOutput
from langchain_dbx_eval.scoring.context import Outcome, Scorer, ScoringContext
from langchain_dbx_eval.scoring.custom import PromptJudge
from langchain_dbx_eval.scoring.judges.backend import resolve_backend
from langchain_dbx_eval.scoring.mlflow.traces import outcome_of_trace, trace_of
from langchain_dbx_eval.scoring.score_row import score

if TYPE_CHECKING:
    from mlflow.entities import Feedback
    from mlflow.genai.scorers import Scorer as MlflowGenaiScorer

__all__ = ["MlflowScorer", "as_mlflow_scorer", "as_scorer"]


@dataclass(frozen=True)
class MlflowScorer:
    """A scorer of ``mlflow.genai`` (built-in, `make_judge` or `@scorer`) as a `Scorer`.

    Its columns are ``<name>/value|rationale|error_message``, as in ``mlflow.genai``. It receives
    the record's trace; if there is none, one that is created from the request, the response and the
    retrieved documents.
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

    async def score(self, context: ScoringContext) -> ScorerOutput:
        """Score one row in a thread."""
        result = await asyncio.to_thread(self._run, context)
        feedbacks = result if isinstance(result, list) else [result]
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
        # MLflow names a feedback without a name "feedback".
        name = getattr(feedback, "name", None)
        if not name or name == "feedback":
            name = self.name
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


def as_scorer(scorer: Any) -> Scorer:
    """Return a `Scorer` unchanged, and a scorer of ``mlflow.genai`` as a `MlflowScorer`.

    Raises:
        ConfigurationError: It is neither.
    """
    base = sys.modules.get("mlflow.genai.scorers.base")
    if base is not None and isinstance(scorer, base.Scorer):
        return MlflowScorer(scorer)
    if all(hasattr(scorer, name) for name in ("score", "name")) and not isinstance(scorer, type):
        found: Scorer = scorer
        return found
    if isinstance(scorer, type):
        hint = " Pass an instance of the class."
    else:
        hint = " Decorate the function with @scorer." if callable(scorer) else ""
    msg = f"{scorer!r:.100} is not a scorer: one has a name and a method score(context).{hint}"
    raise ConfigurationError(msg)


def as_mlflow_scorer(scorer: Scorer, *, judge: Any = None) -> MlflowGenaiScorer:
    """Convert a scorer or judge of this package for ``mlflow.genai.evaluate``.

    Args:
        scorer: The scorer.
        judge: The judge model, as for ``evaluate``, of a `PromptJudge` that has none.

    Returns:
        A scorer of ``mlflow.genai``. Rows that `scorer` skips have no feedback.

    Raises:
        MissingDependencyError: MLflow is not installed.
        ConfigurationError: A `PromptJudge` has no judge model.
    """
    genai = require("mlflow.genai", extra="eval")
    if isinstance(scorer, PromptJudge) and judge is not None:
        scorer = scorer.with_backend(resolve_backend(judge))
    if isinstance(scorer, PromptJudge) and scorer.backend is None:
        msg = f"The judge {scorer.name!r} has no model: pass model= to it, or judge= here."
        raise ConfigurationError(msg)

    def run(inputs: Any, outputs: Any, expectations: Any = None, trace: Any = None) -> Any:
        row = {"inputs": inputs, "expectations": expectations or {}}
        traced = outcome_of_trace(trace) if trace is not None else Outcome()
        outcome = Outcome(
            response=outputs if outputs is not None else traced.response,
            retrieved_context=traced.retrieved_context,
        )
        context = ScoringContext(EvalRecord.from_row(row), outcome)
        assessments = score(context, [scorer]).assessments
        return [_feedback(a) for a in assessments if a.name != "overall_assessment"]

    converted: MlflowGenaiScorer = genai.scorer(run, name=scorer.name)
    return converted


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
