"""Judges as scorers: from a row to requests, and from verdicts to assessments."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import combinations
from operator import add
from typing import Any, ClassVar

from langchain_dbx_eval.scoring.assessments import (
    EMPTY_RESPONSE,
    JUDGE_DISAGREEMENT,
    NO_VERDICT,
    Assessment,
    JudgeUsage,
    ScorerOutput,
    Skip,
)
from langchain_dbx_eval.scoring.context import ScoringContext
from langchain_dbx_eval.scoring.contract import RESPONSE_JUDGE_FAMILY
from langchain_dbx_eval.scoring.judges.inputs import Guidelines, JudgeInputs, gather_inputs
from langchain_dbx_eval.scoring.judges.protocol import JudgeBackend, JudgeRequest, Verdict
from langchain_dbx_eval.scoring.judges.scales import YesNo
from langchain_dbx_eval.scoring.judges.spec import JudgeSpec

__all__ = [
    "JUDGE_SCORERS",
    "ChunkJudge",
    "GuidelineJudge",
    "JudgeScorer",
    "SkippedJudges",
    "chunk_assessment",
]


@dataclass(frozen=True)
class JudgeScorer:
    """A judge that rates each row with one request.

    Attributes:
        spec: The judge.
        backend: Its model.
        by_default: Whether it scores only the rows to which it applies by default.
        limits_time: See `Scorer`: the backend limits the time of each request (`judge_timeout`).
    """

    spec: JudgeSpec
    backend: JudgeBackend
    by_default: bool = False
    limits_time: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """See `Scorer.name`."""
        return self.spec.name

    @property
    def column(self) -> str:
        """See `Scorer.column`."""
        return self.spec.column

    @property
    def leaf(self) -> str:
        """See `Assessment.leaf`."""
        return self.spec.leaf

    async def score(self, context: ScoringContext) -> ScorerOutput:
        """See `Scorer.score`."""
        if self.by_default and not self.spec.applies_by_default(context):
            return []
        inputs, missing = gather_inputs(context, self.spec.inputs, self.spec.optional_inputs)
        if missing:
            return [Skip(self.name, missing, f"{self.column}/{self.leaf}")]
        if "response" in self.spec.inputs and context.outcome.is_empty:
            if not self.spec.fails_empty_response:
                return [Skip(self.name, EMPTY_RESPONSE, f"{self.column}/{self.leaf}")]
            verdict = Verdict(
                value="no",
                rationale="The response is empty.",
                judge_model="langchain-dbx-eval",
                prompt_version=self.spec.version,
            )
            return [self._assessment(verdict)]
        return await self._assess(inputs)

    async def _assess(self, inputs: dict[str, Any]) -> list[Assessment]:
        (verdict,) = await self._verdicts([inputs])
        return [self._assessment(verdict)]

    async def _verdicts(self, requests: Sequence[JudgeInputs]) -> list[Verdict]:
        return await asyncio.gather(
            *(self.backend.judge(JudgeRequest(self.spec, inputs)) for inputs in requests)
        )

    def _assessment(self, verdict: Verdict, group: str = "") -> Assessment:
        suffix = f"/{group}" if group else ""
        metadata = {"judge_model": verdict.judge_model, "prompt_version": verdict.prompt_version}
        metadata |= _repeat_metadata([verdict])
        if verdict.error is not None and not isinstance(self.spec.scale, YesNo):
            metadata[NO_VERDICT] = "true"
        return Assessment(
            name=self.name + suffix,
            column=self.column + suffix,
            leaf=self.leaf,
            value=verdict.value,
            rationale=verdict.rationale,
            error=verdict.error,
            source="LLM_JUDGE",
            metadata=metadata,
            usage=verdict.usage,
        )


@dataclass(frozen=True)
class ChunkJudge(JudgeScorer):
    """A judge that rates each retrieved chunk; the score is the share rated "yes", from 0 to 1."""

    async def _assess(self, inputs: dict[str, Any]) -> list[Assessment]:
        others = {name: text for name, text in inputs.items() if name != "retrieved_context"}
        verdicts = await self._verdicts(
            [{**others, "chunk": chunk} for chunk in inputs["retrieved_context"]]
        )
        return [chunk_assessment(self._assessment(verdicts[0]), verdicts)]


@dataclass(frozen=True)
class GuidelineJudge(JudgeScorer):
    """A judge that rates each group of guidelines; a named group has columns of its own.

    Attributes:
        global_guidelines: Guidelines for all rows; None: those of each record.
    """

    global_guidelines: Guidelines | None = None

    async def _assess(self, inputs: dict[str, Any]) -> list[Assessment]:
        groups: Guidelines = self.global_guidelines or inputs["guidelines"]
        others = {name: text for name, text in inputs.items() if name != "guidelines"}
        verdicts = await self._verdicts(
            [{"guidelines": rules, **others} for rules in groups.values()]
        )
        return [
            self._assessment(verdict, group)
            for group, verdict in zip(groups, verdicts, strict=True)
        ]


def chunk_assessment(assessment: Assessment, verdicts: Sequence[Verdict]) -> Assessment:
    """Complete the assessment of a judge of chunks by the verdicts on all chunks of a row."""
    passed = [verdict.value == "yes" for verdict in verdicts if verdict.value is not None]
    failed = [verdict.error for verdict in verdicts if verdict.error is not None]
    error = f"{len(failed)} of {len(verdicts)} chunks have no verdict; the first: {failed[:1]}"
    return replace(
        assessment,
        value=sum(passed) / len(passed) if passed else None,
        rationale=f"{sum(passed)} of {len(passed)} judged chunks are relevant.",
        error=error if failed else None,
        extra_columns={
            f"{assessment.column}/ratings": [verdict.value for verdict in verdicts],
            f"{assessment.column}/rationales": [verdict.rationale for verdict in verdicts],
            f"{assessment.column}/error_messages": [verdict.error for verdict in verdicts],
        },
        metadata={**assessment.metadata, **_repeat_metadata(verdicts)},
        usage=reduce(add, (verdict.usage for verdict in verdicts), JudgeUsage()),
    )


def _repeat_metadata(verdicts: Sequence[Verdict]) -> dict[str, str]:
    """Return the ratings of repeated verdicts of one row, and how much they disagree."""
    repeated = [verdict.ratings for verdict in verdicts if verdict.ratings]
    if not repeated:
        return {}
    metadata = {
        "judge_repeats": str(len(repeated[0])),
        "judge_ratings": json.dumps(repeated if len(verdicts) > 1 else repeated[0]),
    }
    pairs = [
        list(combinations([rating for rating in ratings if rating is not None], 2))
        for ratings in repeated
    ]
    disagreements = [sum(a != b for a, b in pair) / len(pair) for pair in pairs if pair]
    if disagreements:
        metadata[JUDGE_DISAGREEMENT] = str(sum(disagreements) / len(disagreements))
    return metadata


@dataclass(frozen=True)
class SkippedJudges:
    """The judges that would run on a row by default, if the run had a judge model.

    Attributes:
        specs: The judges.
    """

    specs: tuple[JudgeSpec, ...]
    name: str = "judges"
    column: str = RESPONSE_JUDGE_FAMILY

    def score(self, context: ScoringContext) -> ScorerOutput:
        """Return a `Skip` for each judge that applies to the row and has its inputs."""
        return [
            Skip(spec.name, "judge (or DBX_EVAL_JUDGE)", "")
            for spec in self.specs
            if spec.applies_by_default(context) and not gather_inputs(context, spec.inputs)[1]
        ]


JUDGE_SCORERS: dict[str, type[JudgeScorer]] = {
    "row": JudgeScorer,
    "chunk": ChunkJudge,
    "guidelines": GuidelineJudge,
}
"""Class of the scorer by `JudgeSpec.unit`; that of ``global_guidelines`` needs these too."""
