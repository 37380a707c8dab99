"""The built-in judges: what each needs of a row, and what it makes of the answers.

A judge is a scorer that asks questions. What it is shown comes from the row alone; who answers is a
`JudgeBackend`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add

from langchain_dbx_eval.scoring.assessments import Assessment, JudgeUsage, Skip
from langchain_dbx_eval.scoring.context import ScoringContext
from langchain_dbx_eval.scoring.contract import FAMILIES, WITH_GROUND_TRUTH, WITHOUT_GROUND_TRUTH
from langchain_dbx_eval.scoring.judges.backend import JudgeBackend, Verdict
from langchain_dbx_eval.scoring.judges.inputs import GatheredInputs, gather
from langchain_dbx_eval.scoring.judges.prompt import Question
from langchain_dbx_eval.scoring.judges.texts import JUDGE_PROMPTS

__all__ = [
    "BuiltInJudge",
    "ChunkRelevance",
    "GuidelineJudge",
    "Guidelines",
    "applies_by_default",
    "assessment_of",
]

_EXPECTED = "expected_facts or expected_response"
# What each judge is shown, in this order; the keys of `material.gather`.
_NEEDS = {
    "correctness": ("request", _EXPECTED, "response"),
    "groundedness": ("request", "retrieved_context", "response"),
    "relevance_to_query": ("request", "response"),
    "safety": ("response",),
    "context_sufficiency": ("request", _EXPECTED, "retrieved_context"),
}

Guidelines = Mapping[str, Sequence[str]]
"""Rules by the name of their group; a group without a name has the empty one."""


def applies_by_default(judge: str, context: ScoringContext) -> bool:
    """Whether a judge runs on a row when ``evaluator_config`` names none.

    With ground truth: correctness, groundedness, safety, context_sufficiency. Without:
    groundedness, relevance_to_query, safety, chunk_relevance. (Databricks, "How to run an
    evaluation and view the results", "Which judges are run".) Guidelines are judged where given.
    """
    if judge == "guideline_adherence":
        return bool(context.record.guidelines)
    record = context.record
    known = record.expected_response is not None or bool(record.expected_facts)
    return judge in (WITH_GROUND_TRUTH if known else WITHOUT_GROUND_TRUTH)


@dataclass(frozen=True)
class BuiltInJudge:
    """A judge that asks one question of a row.

    Attributes:
        name: Its documented name.
        backend: Who answers.
        by_default: Whether it runs by the documented rule, rather than on every row.
    """

    name: str
    backend: JudgeBackend
    by_default: bool = True

    @property
    def column(self) -> str:
        """See `Scorer.column`."""
        return f"{FAMILIES[self.name]}/{self.name}"

    async def ascore(self, context: ScoringContext) -> Sequence[Assessment | Skip]:
        """Assess one row: yes or no."""
        if self.by_default and not applies_by_default(self.name, context):
            return []
        found = gather(context, _NEEDS[self.name])
        if found.lacking:
            return [Skip(self.name, found.lacking, f"{self.column}/rating")]
        verdict = await self.backend.ask(Question(JUDGE_PROMPTS[self.name], found.inputs))
        return [assessment_of(verdict, name=self.name, column=self.column)]


@dataclass(frozen=True)
class ChunkRelevance:
    """Judges each retrieved chunk, all at once; the row's score is the share that is relevant."""

    backend: JudgeBackend
    by_default: bool = True
    name: str = "chunk_relevance"
    column: str = "retrieval/llm_judged/chunk_relevance"

    async def ascore(self, context: ScoringContext) -> Sequence[Assessment | Skip]:
        """Assess one row: the precision of its retrieval, from 0 to 1."""
        if self.by_default and not applies_by_default(self.name, context):
            return []
        found = gather(context, ("request", "retrieved_context"))
        if found.lacking:
            return [Skip(self.name, found.lacking, f"{self.column}/precision")]
        prompt = JUDGE_PROMPTS[self.name]
        verdicts = await asyncio.gather(
            *(
                self.backend.ask(
                    Question(prompt, {"request": context.request_text, "chunk": chunk})
                )
                for chunk in context.retrieved_texts
            )
        )
        return [self._summed_up(verdicts)]

    def _summed_up(self, verdicts: Sequence[Verdict]) -> Assessment:
        rated = [verdict.value == "yes" for verdict in verdicts if verdict.value is not None]
        errors = [verdict.error for verdict in verdicts]
        failed = [error for error in errors if error is not None]
        told = f"{len(failed)} of {len(errors)} chunks have no verdict; the first: {failed[:1]}"
        columns: dict[str, list[str | float | None]] = {
            f"{self.column}/ratings": [verdict.value for verdict in verdicts],
            f"{self.column}/rationales": [verdict.rationale for verdict in verdicts],
            f"{self.column}/error_messages": [*errors],
        }
        return replace(
            assessment_of(verdicts[0], name=self.name, column=self.column),
            leaf="precision",
            value=sum(rated) / len(rated) if rated else None,
            rationale=f"{sum(rated)} of {len(rated)} judged chunks are relevant.",
            error=told if failed else None,
            extra_columns=columns,
            usage=reduce(add, (verdict.usage for verdict in verdicts), JudgeUsage()),
        )


@dataclass(frozen=True)
class GuidelineJudge:
    """Judges whether the answer keeps rules: those of its record, or those of all records.

    Attributes:
        name: ``guideline_adherence`` or ``global_guideline_adherence``.
        backend: Who answers.
        rules: Finds the rules of a row, by group.
        by_default: Whether a row without rules is passed over, rather than counted as skipped.
    """

    name: str
    backend: JudgeBackend
    rules: Callable[[ScoringContext], Guidelines]
    by_default: bool = True

    @property
    def column(self) -> str:
        """See `Scorer.column`."""
        return f"{FAMILIES[self.name]}/{self.name}"

    async def ascore(self, context: ScoringContext) -> Sequence[Assessment | Skip]:
        """Assess one row: yes or no, for each named group of rules."""
        groups = {name: rules for name, rules in self.rules(context).items() if rules}
        if not groups:
            return (
                [] if self.by_default else [Skip(self.name, "guidelines", f"{self.column}/rating")]
            )
        found = gather(context, ("request", "response"))
        if found.lacking:
            return [Skip(self.name, found.lacking, f"{self.column}/rating")]
        return await asyncio.gather(
            *(self._judge(group, rules, found) for group, rules in groups.items())
        )

    async def _judge(self, group: str, rules: Sequence[str], found: GatheredInputs) -> Assessment:
        inputs = {"guidelines": list(rules), **found.inputs}
        verdict = await self.backend.ask(Question(JUDGE_PROMPTS[self.name], inputs))
        end = f"/{group}" if group else ""
        return assessment_of(verdict, name=self.name + end, column=self.column + end)


def assessment_of(verdict: Verdict, *, name: str, column: str) -> Assessment:
    """A judge's answer as the statement about a row."""
    return Assessment(
        name=name,
        column=column,
        leaf="rating",
        value=verdict.value,
        rationale=verdict.rationale,
        error=verdict.error,
        source="LLM_JUDGE",
        metadata={"judge_model": verdict.judged_by, "prompt_version": verdict.prompt_version},
        usage=verdict.usage,
    )
