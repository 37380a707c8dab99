"""The overall assessment of a row: pass or fail, root cause and suggested action."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, Literal

from langchain_dbx_eval.scoring.assessments import EMPTY_RESPONSE, NO_VERDICT, Assessment, Skip
from langchain_dbx_eval.scoring.contract import OVERALL_ASSESSMENT
from langchain_dbx_eval.scoring.judges.builtin import BUILT_IN_JUDGES
from langchain_dbx_eval.scoring.judges.spec import JudgeSpec

__all__ = ["UNKNOWN", "overall_assessment"]

UNKNOWN: Final = "unknown"
"""The overall assessment of a row without a "no", of which a judge had an error."""


def overall_assessment(
    assessments: Iterable[Assessment], skipped: Iterable[Skip] = ()
) -> Assessment | None:
    """Combine the verdicts of the judges.

    A row fails if a judge rates it "no"; a judge of chunks fails it only if every chunk is rated
    "no". The root cause is the first failing judge in the order of `BUILT_IN_JUDGES`, then the
    custom judges (Databricks, "Agent Evaluation: how quality is assessed", overall assessment and
    root cause). A row fails too if a judge had nothing to rate because the response is empty.

    A row passes if all judges that apply to it rated it "yes". If none rated it "no", and a judge
    had an error, the assessment is unknown.

    Args:
        assessments: All assessments of the row.
        skipped: The scorers that lacked an input.

    Returns:
        The assessment, ``"yes"``, ``"no"`` or ``"unknown"`` (MLflow's ``CategoricalRating``); None
        if no judge applies.
    """
    verdicts = [(a, passed) for a in assessments if (passed := _passed(a)) is not None]
    failed = sorted((a for a, passed in verdicts if passed is False), key=_rank)
    unknown = [a.name for a, passed in verdicts if passed == UNKNOWN]
    without_response = [skip.name for skip in skipped if skip.reason == EMPTY_RESPONSE]
    if not failed and without_response:
        reason = "The response is empty."
        action = "Find out why the model returned nothing."
        return _fail(without_response[0], reason, without_response[1:], action)
    if not failed and unknown:
        return _assessment(
            UNKNOWN, f"Without a verdict, because of an error: {', '.join(unknown)}."
        )
    if not verdicts:
        return None
    if not failed:
        names = ", ".join(a.name for a, _ in verdicts)
        return _assessment("yes", f"All judges passed: {names}.")
    root = failed[0]
    spec = _spec(root)
    action = (spec and spec.suggested_action) or f"See the rationale of {root.name}."
    return _fail(root.name, root.rationale or "", [a.name for a in failed[1:]], action)


def _fail(name: str, reason: str, others: list[str], action: str) -> Assessment:
    rationale = f"Root cause: {name}. {reason}".strip()
    if others:
        rationale += f" Also failed: {', '.join(others)}."
    details = {
        "root_cause_assessment": name,
        "root_cause_rationale": reason,
        "suggested_action": action,
    }
    return _assessment("no", rationale, details)


def _assessment(
    value: str, rationale: str, details: Mapping[str, str] = MappingProxyType({})
) -> Assessment:
    return Assessment(
        name="overall_assessment",
        column=OVERALL_ASSESSMENT,
        leaf="rating",
        value=value,
        rationale=rationale,
        extra_columns={f"{OVERALL_ASSESSMENT}/{name}": text for name, text in details.items()},
        metadata=dict(details),
    )


def _passed(assessment: Assessment) -> bool | Literal["unknown"] | None:
    """Whether a judge passed the row; None if it is no judge, or one that rates no yes or no."""
    if assessment.source != "LLM_JUDGE":
        return None
    spec = _spec(assessment)
    if spec is not None and spec.unit == "chunk":
        ratings = set(assessment.extra_columns.get(f"{assessment.column}/ratings") or [])
        if ratings - {None} == {"no"}:
            # A chunk without a verdict may be the relevant one.
            return UNKNOWN if None in ratings else False
        if ratings - {None}:
            return True
    elif (value := str(assessment.value)) in ("yes", "no"):
        return value == "yes"
    failed = assessment.error is not None and NO_VERDICT not in assessment.metadata
    return UNKNOWN if failed else None


def _spec(assessment: Assessment) -> JudgeSpec | None:
    # A named group of guidelines is assessed under "<judge>/<group>".
    return BUILT_IN_JUDGES.get(assessment.name.split("/")[0])


def _rank(assessment: Assessment) -> int:
    spec = _spec(assessment)
    return len(BUILT_IN_JUDGES) if spec is None else [*BUILT_IN_JUDGES].index(spec.name)
