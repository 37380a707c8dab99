"""The interface between judges and the models behind them: request, verdict and backend."""

from __future__ import annotations

import json
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

from langchain_core.messages import BaseMessage

from langchain_dbx_eval.scoring.assessments import JudgeUsage
from langchain_dbx_eval.scoring.judges.inputs import JudgeInputs
from langchain_dbx_eval.scoring.judges.prompt import judge_messages
from langchain_dbx_eval.scoring.judges.spec import JudgeSpec

__all__ = ["JudgeBackend", "JudgeRequest", "Verdict", "judge_timeout", "late_verdict"]

judge_timeout: ContextVar[float | None] = ContextVar("judge_timeout", default=None)
"""Seconds for one request to a judge model, all retries included; None: no limit.

A backend counts them from the moment at which the request has a slot, since the requests of many
rows wait for slots.
"""


@dataclass(frozen=True)
class JudgeRequest:
    """A request for one verdict.

    Attributes:
        spec: The judge.
        inputs: What it rates.
        repetition: Which of several equal requests it is, from 1. Caches keep them apart.
    """

    spec: JudgeSpec
    inputs: JudgeInputs
    repetition: int = 1

    def messages(self, nonce: str = "") -> list[BaseMessage]:
        """Return the request as a conversation with a chat model.

        Args:
            nonce: See `judge_messages`. A call needs one; the identity of the request has none.
        """
        return judge_messages(self.spec.prompt, self.spec.scale, self.inputs, nonce)

    def canonical_json(self) -> str:
        """Return the identity of the request for caches.

        It contains the complete prompt, so that a changed text is a different request even if its
        version did not change.
        """
        contents = [message.content for message in self.messages()]
        identity: list[Any] = [self.spec.name, self.spec.version, contents]
        # The first one has no number: a run with repeats reuses the verdict of a run without.
        identity += [self.repetition] if self.repetition > 1 else []
        return json.dumps(identity, ensure_ascii=False)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The answer of a judge to one request.

    Attributes:
        value: The rating, on the judge's scale; None if there is none.
        rationale: The judge's explanation.
        error: Why there is no rating.
        usage: Cost of the calls.
        judge_model: Name of the model.
        prompt_version: Version of the prompt.
        ratings: The ratings of all repeats of the request, None for those that failed; empty if it
            was not repeated.
    """

    value: str | float | None = None
    rationale: str | None = None
    error: str | None = None
    usage: JudgeUsage = field(default_factory=JudgeUsage)
    judge_model: str = ""
    prompt_version: str = ""
    ratings: tuple[str | float | None, ...] = ()


def late_verdict(request: JudgeRequest, seconds: float | None) -> Verdict:
    """Return the verdict on a request that exceeded `judge_timeout`."""
    error = f"TimeoutError: the judge {request.spec.name!r} has no verdict after {seconds:g} s"
    return Verdict(error=f"{error} (scorer_timeout=)")


class JudgeBackend(Protocol):
    """A model that answers judge requests: a chat model, or MLflow's own judges."""

    @property
    def identity(self) -> str:
        """The model and all its parameters: a part of cache keys and fingerprints."""
        ...

    async def judge(self, request: JudgeRequest) -> Verdict:
        """Answer a request; a failure is a verdict with an error, never an exception."""
        ...
