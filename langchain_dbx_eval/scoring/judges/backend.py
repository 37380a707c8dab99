"""Who answers a judge's questions, and how no question is paid for twice."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field, replace
from typing import Protocol

from langchain_dbx_eval.scoring.assessments import JudgeUsage
from langchain_dbx_eval.scoring.judges.cache import JudgeCache
from langchain_dbx_eval.scoring.judges.prompt import Question

__all__ = ["JudgeBackend", "RememberingJudge", "Verdict"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a judge answered to one question.

    Attributes:
        value: The rating, on the question's scale; None where there is none.
        rationale: Why, in the judge's words.
        error: Why there is no rating.
        usage: What it took.
        judged_by: Who judged: the model's name.
        prompt_version: By which text.
    """

    value: str | float | None = None
    rationale: str | None = None
    error: str | None = None
    usage: JudgeUsage = field(default_factory=JudgeUsage)
    judged_by: str = ""
    prompt_version: str = ""


class JudgeBackend(Protocol):
    """Somebody who answers a judge's questions: a chat model, or MLflow's own judges."""

    @property
    def identity(self) -> str:
        """What tells it from another one: the model, and all its parameters."""
        ...

    async def ask(self, question: Question) -> Verdict:
        """Answer a question; a failure is a verdict with an error, never an exception."""
        ...


class RememberingJudge:
    """Asks each question once: what was asked in this run, or is in the cache, is not asked again.

    Two that ask the same at the same time wait for one answer. A question that was not answered is
    forgotten, so that it can be asked again.

    Args:
        judge: Who answers.
        cache: Where verdicts outlive the run; None keeps them for this run only.
    """

    def __init__(self, judge: JudgeBackend, cache: JudgeCache | None = None) -> None:
        self._judge = judge
        self._cache = cache
        self._asked: dict[str, asyncio.Task[Verdict]] = {}

    @property
    def identity(self) -> str:
        """See `JudgeBackend.identity`."""
        return self._judge.identity

    async def ask(self, question: Question) -> Verdict:
        """See `JudgeBackend.ask`."""
        told = f"{self.identity}\n{question}".encode("utf-8", "surrogatepass")
        key = hashlib.sha256(told).hexdigest()
        asked = self._asked.get(key)
        if asked is not None:
            return _known_already(await asyncio.shield(asked))
        asking = self._asked[key] = asyncio.ensure_future(self._find(key, question))
        # Shielded: one row that is cancelled must not take the answer from the others.
        verdict = await asyncio.shield(asking)
        if verdict.error is not None:
            self._asked.pop(key, None)
        return verdict

    async def _find(self, key: str, question: Question) -> Verdict:
        if self._cache is None:
            return await self._judge.ask(question)
        stored = await asyncio.to_thread(self._cache.get, key)
        if stored is not None:
            value, rationale, judged_by, prompt_version = stored
            return Verdict(
                value=value,
                rationale=rationale,
                usage=JudgeUsage(cached=1),
                judged_by=judged_by,
                prompt_version=prompt_version,
            )
        verdict = await self._judge.ask(question)
        if verdict.value is not None:
            row = (verdict.value, verdict.rationale, verdict.judged_by, verdict.prompt_version)
            await asyncio.to_thread(self._cache.put, key, row)
        return verdict


def _known_already(verdict: Verdict) -> Verdict:
    cached = 1 if verdict.error is None else 0
    return replace(verdict, usage=JudgeUsage(cached=cached))
