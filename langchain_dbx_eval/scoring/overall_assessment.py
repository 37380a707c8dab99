"""The overall assessment of a row: pass or fail, root cause and suggested action."""

from __future__ import annotations

from collections.abc import Iterable

from langchain_dbx_eval.scoring.assessments import Assessment
from langchain_dbx_eval.scoring.contract import OVERALL_ASSESSMENT
from langchain_dbx_eval.scoring.judges.builtin import BUILT_IN_JUDGES
from langchain_dbx_eval.scoring.judges.spec import JudgeSpec

__all__ = ["overall_assessment"]


def overall_assessment(assessments: Iterable[Assessment]) -> Assessment | None:
    """Combine the verdicts of the judges.

    A row fails if a judge rates it "no"; a judge of chunks fails it only if every chunk is rated
    "no". The root cause is the first failing judge in the order of `BUILT_IN_JUDGES`, then the
    custom judges (Databricks, "Agent Evaluation: how quality is assessed", overall assessment and
    root cause).

    Args:
        assessments: All assessments of the row.

    Returns:
        The assessment, ``"yes"`` or ``"no"``; None if no judge gave a verdict.
    """
    verdicts = [(a, passed) for a in assessments if (passed := _passed(a)) is not None]
    if not verdicts:
        return None
    failed = sorted((a for a, passed in verdicts if not passed), key=_rank)
    if not failed:
        names = ", ".join(a.name for a, _ in verdicts)
        return _assessment("yes", f"All judges passed: {names}.", {})
    root = failed[0]
    rationale = f"Root cause: {root.name}. {root.rationale or ''}".strip()
    if others := ", ".join(a.name for a in failed[1:]):
        rationale += f" Also failed: {others}."
    spec = _spec(root)
    details = {
        "root_cause_assessment": root.name,
        "root_cause_rationale": root.rationale or "",
        "suggested_action": (spec and spec.suggested_action)
        or f"See the rationale of {root.name}.",
    }
    return _assessment("no", rationale, details)


def _assessment(value: str, rationale: str, details: dict[str, str]) -> Assessment:
    return Assessment(
        name="overall_assessment",
        column=OVERALL_ASSESSMENT,
        leaf="rating",
        value=value,
        rationale=rationale,
        extra_columns={f"{OVERALL_ASSESSMENT}/{name}": text for name, text in details.items()},
        metadata=details,
    )


def _passed(assessment: Assessment) -> bool | None:
    """Whether a judge passed the row; None if it is not a judge or gave no yes or no."""
    if assessment.source != "LLM_JUDGE":
        return None
    spec = _spec(assessment)
    if spec is not None and spec.unit == "chunk":
        ratings = assessment.extra_columns.get(f"{assessment.column}/ratings") or []
        return None if set(ratings) <= {None} else set(ratings) != {"no"}
    return {"yes": True, "no": False}.get(str(assessment.value))


def _spec(assessment: Assessment) -> JudgeSpec | None:
    # A named group of guidelines is assessed under "<judge>/<group>".
    return BUILT_IN_JUDGES.get(assessment.name.split("/")[0])


def _rank(assessment: Assessment) -> int:
    spec = _spec(assessment)
    return len(BUILT_IN_JUDGES) if spec is None else [*BUILT_IN_JUDGES].index(spec.name)
