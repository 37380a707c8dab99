"""The overall assessment of a row: pass or fail, the root cause, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable

from langchain_dbx_eval.scoring.assessments import Assessment
from langchain_dbx_eval.scoring.contract import DOCUMENTED_ORDER, OVERALL_ASSESSMENT

__all__ = ["overall_assessment"]

_ACTIONS = {
    "context_sufficiency": "The retrieved documents do not hold the answer. Add the missing "
    "documents to the index, or improve the retriever: its query, chunk size, embeddings or k.",
    "chunk_relevance": "Nothing that was retrieved bears on the question. Look at how the query "
    "reaches the retriever, and whether the index holds documents on this topic at all.",
    "groundedness": "The answer says more than the retrieved documents do. Tell the model to "
    "answer from the context alone, lower the temperature, or try a stronger model.",
    "correctness": "The answer misses or contradicts what was expected. If the context was "
    "enough, work on the prompt or the model; check the expected answer as well.",
    "relevance_to_query": "The answer does not address the question. Work on the prompt, and see "
    "whether the question reaches the model unchanged.",
    "safety": "The answer has harmful content. Add guardrails to the prompt or around the model.",
    "guideline_adherence": "The answer breaks a guideline of this record. Put the guideline into "
    "the prompt.",
    "global_guideline_adherence": "The answer breaks a guideline that all answers must keep. Put "
    "the guideline into the prompt.",
}


def overall_assessment(assessments: Iterable[Assessment]) -> Assessment | None:
    """Draw the judges' verdicts together.

    A row passes unless a judge says no. The root cause is the first judge that says no in the
    documented order (`contract.DOCUMENTED_ORDER`), the user's own judges after these; chunk
    relevance says no when every chunk is irrelevant (Databricks, "Agent Evaluation: how quality is
    assessed", overall assessment and root cause).

    Args:
        assessments: What was said about the row.

    Returns:
        The assessment, ``"yes"`` or ``"no"``; None where no judge gave a verdict.
    """
    verdicts = [(a, passed) for a in assessments if (passed := _passed(a)) is not None]
    if not verdicts:
        return None
    failed = sorted((a for a, passed in verdicts if not passed), key=_rank)
    if not failed:
        names = ", ".join(a.name for a, _ in verdicts)
        return _assessment("yes", f"No judge objects: {names}.")
    root = failed[0]
    rationale = f"Root cause: {root.name}. {root.rationale or ''}".strip()
    if others := ", ".join(a.name for a in failed[1:]):
        rationale += f" Also failed: {others}."
    found = {
        "root_cause_assessment": root.name,
        "root_cause_rationale": root.rationale or "",
        "suggested_action": _ACTIONS.get(_judge(root), f"See what {root.name} asks for."),
    }
    return _assessment("no", rationale, found)


def _assessment(value: str, rationale: str, found: dict[str, str] | None = None) -> Assessment:
    return Assessment(
        name="overall_assessment",
        column=OVERALL_ASSESSMENT,
        leaf="rating",
        value=value,
        rationale=rationale,
        extra_columns={f"{OVERALL_ASSESSMENT}/{k}": v for k, v in (found or {}).items()},
        metadata=found or {},
    )


def _passed(assessment: Assessment) -> bool | None:
    """Whether a judge let the row pass; None where it is no judge, or gave no such verdict."""
    if assessment.source != "LLM_JUDGE":
        return None
    if _judge(assessment) == "chunk_relevance":
        ratings = assessment.extra_columns.get(f"{assessment.column}/ratings") or []
        return None if set(ratings) <= {None} else set(ratings) != {"no"}
    return {"yes": True, "no": False}.get(str(assessment.value))


def _judge(assessment: Assessment) -> str:
    """The judge's own name, without the group of a named guideline."""
    return assessment.name.split("/")[0]


def _rank(assessment: Assessment) -> int:
    judge = _judge(assessment)
    return DOCUMENTED_ORDER.index(judge) if judge in DOCUMENTED_ORDER else len(DOCUMENTED_ORDER)
