"""Conversion between the scorers of this package and those of ``mlflow.genai``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from langchain_core.messages import BaseMessage

from langchain_dbx_eval._internal.daemon_threads import submit, wait_for
from langchain_dbx_eval._internal.event_loop import call_in_thread
from langchain_dbx_eval._internal.imports import require
from langchain_dbx_eval.datasets import EvalRecord
from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.scoring.answer_text import to_plain_json
from langchain_dbx_eval.scoring.assessments import Assessment, ScorerOutput, Skip
from langchain_dbx_eval.scoring.context import Outcome, Scorer, ScoringContext
from langchain_dbx_eval.scoring.custom import PromptJudge
from langchain_dbx_eval.scoring.judges.backend import default_judge, resolve_backend
from langchain_dbx_eval.scoring.mlflow.metrics import as_metric_scorer
from langchain_dbx_eval.scoring.mlflow.traces import (
    SESSION,
    outcome_of_trace,
    session_of,
    trace_of,
)
from langchain_dbx_eval.scoring.results import (
    ResultReader,
    aggregation_metadata,
    check_output,
)
from langchain_dbx_eval.scoring.score_row import failure, late, score

if TYPE_CHECKING:
    from mlflow.entities import Feedback
    from mlflow.genai.scorers import Scorer as MlflowGenaiScorer

__all__ = ["MlflowScorer", "as_mlflow_scorer", "as_scorer"]


@dataclass(frozen=True)
class MlflowScorer:
    """A scorer of ``mlflow.genai`` (built-in, `make_judge` or `@scorer`) as a `Scorer`.

    Its columns are ``<name>/value|rationale|error_message``, as in ``mlflow.genai``. It receives
    the model's outputs unchanged, all expectations, and the trace of the row (see `trace_of`).

    A session-level scorer scores no single row, but all rows of a session at once.
    """

    scorer: Any
    leaf: str = "value"

    def __post_init__(self) -> None:
        aggregation_metadata(self.name, self.scorer.aggregations)

    @property
    def name(self) -> str:
        """See `Scorer.name`."""
        return str(self.scorer.name)

    @property
    def column(self) -> str:
        """See `Scorer.column`."""
        return self.name

    @property
    def is_session_level(self) -> bool:
        """Whether it scores sessions, by `score_session`."""
        return bool(self.scorer.is_session_level_scorer)

    @property
    def is_judge(self) -> bool:
        """Whether it is a judge of MLflow that rates yes or no: its error is a missing verdict."""
        return getattr(self.scorer, "feedback_value_type", None) not in (None, int, float)

    async def score(self, context: ScoringContext) -> ScorerOutput:
        """Score one row in a thread."""
        if self.is_session_level:
            has_session = await call_in_thread(session_of, context) is not None
            return [] if has_session else [Skip(self.name, "session_id", f"{self.name}/value")]
        return self._reader.read(await call_in_thread(self._run, context))

    def score_session(
        self, session: str, contexts: Sequence[ScoringContext], timeout: float | None = None
    ) -> ScorerOutput:
        """Score the rows of a session, in their order, in a thread.

        Args:
            session: The id of the session.
            contexts: The rows.
            timeout: Seconds after which the thread is left; None: no limit.

        Returns:
            The assessments of the session; an exception of the scorer is an error in them.
        """

        def run() -> ScorerOutput:
            try:
                result = self.scorer.run(session=[trace_of(context) for context in contexts])
                return check_output(self._reader.read(result))
            except BaseException as error:  # in a thread, where Ctrl-C is not raised
                return [failure(self, error)]

        scoring = submit(run)
        wait_for([scoring], timeout)
        output = scoring.result() if scoring.done() else [late(self, timeout)]
        return [
            replace(item, metadata={**item.metadata, SESSION: session})
            for item in output
            if isinstance(item, Assessment)
        ]

    @cached_property
    def _reader(self) -> ResultReader:
        metadata = aggregation_metadata(self.name, self.scorer.aggregations)
        return ResultReader(name=self.name, leaf=self.leaf, metadata=metadata)

    def _run(self, context: ScoringContext) -> Any:
        request, response = context.record.request, context.outcome.response
        # MLflow's judges read the conversation under this key.
        inputs = {"messages": request} if _is_messages(request) else context.record.inputs
        return self.scorer.run(
            inputs=to_plain_json(inputs),
            # Of a bare message, MLflow's judges would see the JSON instead of the text.
            outputs=response.text if isinstance(response, BaseMessage) else response,
            expectations=context.expectations,
            trace=trace_of(context),
        )


def _is_messages(request: Any) -> bool:
    return isinstance(request, list) and all(
        isinstance(item, BaseMessage) or (isinstance(item, dict) and "content" in item)
        for item in request
    )


def as_scorer(scorer: Any) -> Scorer:
    """Return a `Scorer` unchanged, and convert scorers and metrics of MLflow and databricks-agents.

    Raises:
        ConfigurationError: It is none of these, or its configuration is not supported.
    """
    base = sys.modules.get("mlflow.genai.scorers.base")
    if base is not None and isinstance(scorer, base.Scorer):
        return MlflowScorer(scorer)
    if (metric := as_metric_scorer(scorer)) is not None:
        return metric
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
        judge: The judge model, as for ``evaluate``, of a `PromptJudge` that has none; default:
            DBX_EVAL_JUDGE.

    Returns:
        A scorer of ``mlflow.genai``. Rows that `scorer` skips have no feedback.

    Raises:
        MissingDependencyError: MLflow is not installed.
        ConfigurationError: A `PromptJudge` has no judge model.
    """
    genai = require("mlflow.genai", extra="eval")
    judge = default_judge(judge)
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
