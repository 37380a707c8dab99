"""Resolution of ``judge=`` to a backend that answers each request once, or a number of times."""

from __future__ import annotations

import asyncio
import hashlib
import os
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel

from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.scoring.assessments import JudgeUsage
from langchain_dbx_eval.scoring.judges.cache import JudgeCache
from langchain_dbx_eval.scoring.judges.chat_backend import ChatBackend
from langchain_dbx_eval.scoring.judges.mlflow_backend import MlflowBackend
from langchain_dbx_eval.scoring.judges.protocol import JudgeBackend, JudgeRequest, Verdict

__all__ = [
    "CachingBackend",
    "RepeatingBackend",
    "default_judge",
    "repeat_backend",
    "resolve_backend",
]

_VARIABLE = "DBX_EVAL_JUDGE"
_ENDPOINT_SCHEMES = ("endpoints", "databricks")


def default_judge(judge: Any) -> Any:
    """Return `judge`; if it is None, the environment variable DBX_EVAL_JUDGE, else None."""
    return judge if judge is not None else os.environ.get(_VARIABLE, "").strip() or None


def resolve_backend(
    judge: Any, cache: str | Path | None = None, *, max_concurrency: int = 32, repeats: int = 1
) -> JudgeBackend:
    """Return the backend for a judge model.

    Args:
        judge: A LangChain chat model; a serving endpoint (``"endpoints:/name"`` or
            ``"databricks:/name"``); or an MLflow model URI (``"openai:/gpt-4.1-mini"``, or
            ``"databricks"``), which selects MLflow's own judges.
        cache: Path of the file that stores verdicts; None: they are kept in memory.
        max_concurrency: Maximum number of concurrent requests.
        repeats: Number of times that each request is answered; see `RepeatingBackend`.

    Raises:
        ConfigurationError: `judge` is none of these, `repeats` is less than 1, or the cache cannot
            be used.
    """
    stored = JudgeCache(cache) if cache is not None else None
    return repeat_backend(CachingBackend(_backend(judge, max_concurrency), stored), repeats)


def repeat_backend(backend: JudgeBackend, repeats: int) -> JudgeBackend:
    """Return a backend that repeats each request; `backend` itself if `repeats` is 1.

    Raises:
        ConfigurationError: `repeats` is less than 1.
    """
    if repeats < 1:
        msg = f"judge_repeats must be at least 1, got {repeats}."
        raise ConfigurationError(msg)
    return backend if repeats == 1 else RepeatingBackend(backend, repeats)


class CachingBackend:
    """Answer each request once: repeated ones are answered from memory or from the cache.

    Concurrent equal requests share one call. Failures are not remembered.

    Args:
        backend: Answers the requests that are not cached.
        cache: Stores verdicts beyond the run; None: none.
    """

    def __init__(self, backend: JudgeBackend, cache: JudgeCache | None = None) -> None:
        self._backend = backend
        self._cache = cache
        self._verdicts: dict[str, asyncio.Task[Verdict]] = {}

    @property
    def identity(self) -> str:
        """See `JudgeBackend.identity`."""
        return self._backend.identity

    async def judge(self, request: JudgeRequest) -> Verdict:
        """See `JudgeBackend.judge`."""
        text = f"{self.identity}\n{request.canonical_json()}".encode("utf-8", "surrogatepass")
        key = hashlib.sha256(text).hexdigest()
        task = self._verdicts.get(key)
        if task is not None:
            verdict = await asyncio.shield(task)
            return replace(verdict, usage=JudgeUsage(cached=1 if verdict.error is None else 0))
        task = self._verdicts[key] = asyncio.ensure_future(self._load_or_call(key, request))
        # Shielded: the cancellation of one row must not cancel the verdict of the others.
        verdict = await asyncio.shield(task)
        if verdict.error is not None:
            self._verdicts.pop(key, None)
        return verdict

    async def _load_or_call(self, key: str, request: JudgeRequest) -> Verdict:
        if self._cache is None:
            return await self._backend.judge(request)
        stored = await asyncio.to_thread(self._cache.get, key)
        if stored is not None:
            return replace(stored, usage=JudgeUsage(cached=1))
        verdict = await self._backend.judge(request)
        if verdict.value is not None:
            await asyncio.to_thread(self._cache.put, key, verdict)
        return verdict


@dataclass(frozen=True)
class RepeatingBackend:
    """Answer each request several times, concurrently; the majority decides.

    The rating is the most frequent one of the repeats. Of equally frequent ones, "no" wins, else
    the one that was given first. Of numbers, the rating is their median. More than half of the
    repeats must have a rating: otherwise the verdict is an error. The rationale is that of the
    first repeat with this rating (of numbers: with the nearest one), the usage that of all repeats.

    Attributes:
        backend: Answers each repeat. A cache in it keeps the repeats apart.
        repeats: Number of repeats.
    """

    backend: JudgeBackend
    repeats: int

    @property
    def identity(self) -> str:
        """See `JudgeBackend.identity`."""
        return f"{self.backend.identity}, {self.repeats} repeats"

    async def judge(self, request: JudgeRequest) -> Verdict:
        """See `JudgeBackend.judge`."""
        requests = [replace(request, repetition=n) for n in range(1, self.repeats + 1)]
        return _majority(await asyncio.gather(*map(self.backend.judge, requests)))


def _majority(verdicts: Sequence[Verdict]) -> Verdict:
    rated = [verdict for verdict in verdicts if verdict.value is not None]
    failed = [verdict for verdict in verdicts if verdict.value is None]
    decisive, value, error = failed[0] if failed else rated[0], None, None
    if len(rated) > len(failed):
        decisive, value = _decide(rated)
    else:
        error = f"{len(failed)} of {len(verdicts)} repeats have no rating; the first: "
        error += str(decisive.error)
    return replace(
        decisive,
        value=value,
        error=error,
        usage=reduce(add, (verdict.usage for verdict in verdicts)),
        ratings=tuple(verdict.value for verdict in verdicts),
    )


def _decide(rated: Sequence[Verdict]) -> tuple[Verdict, str | float | None]:
    """Return the rating of the majority, and the first verdict that gives it."""
    values = [verdict.value for verdict in rated]
    numbers = [value for value in values if isinstance(value, int | float)]
    if len(numbers) == len(values):
        median = statistics.median(numbers)
        distances = [abs(number - median) for number in numbers]
        return rated[distances.index(min(distances))], median
    # A counter keeps the order in which the ratings were given first.
    counts = Counter(values)
    winners = [value for value, count in counts.items() if count == max(counts.values())]
    winner = "no" if "no" in winners else winners[0]
    return rated[values.index(winner)], winner


def _backend(judge: Any, max_concurrency: int) -> JudgeBackend:
    if isinstance(judge, BaseChatModel):
        return ChatBackend(judge, max_concurrency=max_concurrency)
    if isinstance(judge, str):
        scheme, _, name = judge.partition(":/")
        if name and scheme in _ENDPOINT_SCHEMES:
            from langchain_dbx_eval.chat_models import ChatDatabricks

            model = ChatDatabricks(model=name.strip("/"), temperature=0.0)
            return ChatBackend(model, max_concurrency=max_concurrency)
        if (scheme and name) or judge == "databricks":
            return MlflowBackend(judge, max_concurrency=max_concurrency)
    origin = f" ({_VARIABLE})" if judge == os.environ.get(_VARIABLE) else ""
    msg = (
        f"judge={judge!r}{origin} is not a supported judge. Pass a LangChain chat model such as "
        "ChatDatabricks(…), an endpoint such as 'endpoints:/my-chat', or an MLflow model URI such "
        "as 'openai:/gpt-4.1-mini'."
    )
    raise ConfigurationError(msg)
