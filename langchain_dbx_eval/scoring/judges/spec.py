"""`JudgeSpec`: the definition of a judge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from langchain_dbx_eval.scoring.context import ScoringContext
from langchain_dbx_eval.scoring.contract import RESPONSE_JUDGE_FAMILY
from langchain_dbx_eval.scoring.judges.inputs import JudgeInputs
from langchain_dbx_eval.scoring.judges.scales import Scale, YesNo

__all__ = ["JudgeSpec", "MlflowFunction"]


@dataclass(frozen=True)
class MlflowFunction:
    """The counterpart of a judge in ``mlflow.genai.judges``.

    Attributes:
        name: Name of the function.
        arguments: Convert the inputs of the judge to the keyword arguments of the function.
    """

    name: str
    arguments: Callable[[JudgeInputs], dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class JudgeSpec:
    """Definition of a judge. Selection, prompts, columns, verdicts and MLflow derive from it.

    Attributes:
        name: Name in ``evaluator_config``, in assessments and in metrics.
        prompt: The task for the judge model, and the meaning of each rating. Tags such as
            ``<response>`` refer to the inputs.
        version: Version of `prompt`, stored with each assessment: change it with the text.
        inputs: Names of the inputs (see `judges.inputs`) in the order in which the prompt shows
            them. A row that lacks one is skipped.
        optional_inputs: Names of further inputs that are shown if the row has them.
        family: Prefix of its columns, before its name.
        scale: The allowed ratings.
        unit: Subject of one request to the judge model:

            - ``row``: the row.
            - ``chunk``: one retrieved chunk, shown as ``<chunk>`` in place of
              ``<retrieved_context>``. The score is the share of chunks rated "yes".
            - ``guidelines``: one group of the record's guidelines.
            - ``global_guidelines``: one group of ``evaluator_config``'s ``global_guidelines``. The
              judge runs only if these are configured.
        applies_by_default: Whether the judge applies to a row if ``evaluator_config`` lists no
            judges.
        fails_empty_response: Whether an empty response is rated "no" without a call of the judge
            model. Otherwise a judge of the response skips such a row: it has nothing to rate.
        suggested_action: What the user should change if this judge is the root cause of a failed
            row.
        mlflow: Counterpart in MLflow; None if there is none.
    """

    name: str
    prompt: str
    version: str
    inputs: tuple[str, ...]
    optional_inputs: tuple[str, ...] = ()
    family: str = RESPONSE_JUDGE_FAMILY
    scale: Scale = field(default_factory=YesNo)
    unit: Literal["row", "chunk", "guidelines", "global_guidelines"] = "row"
    applies_by_default: Callable[[ScoringContext], bool] = lambda _: True
    fails_empty_response: bool = False
    suggested_action: str = ""
    mlflow: MlflowFunction | None = None

    @property
    def column(self) -> str:
        """See `Scorer.column`."""
        return f"{self.family}/{self.name}"

    @property
    def leaf(self) -> str:
        """See `Assessment.leaf`."""
        return "precision" if self.unit == "chunk" else "rating"
