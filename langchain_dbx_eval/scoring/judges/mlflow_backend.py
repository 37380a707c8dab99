"""MLflow's own judges, selected by a model URI such as ``openai:/gpt-4.1-mini``."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

from langchain_dbx_eval._internal.deadline import DeadlineError, run_task
from langchain_dbx_eval._internal.event_loop import call_in_thread
from langchain_dbx_eval._internal.imports import require
from langchain_dbx_eval.scoring.assessments import JudgeUsage
from langchain_dbx_eval.scoring.judges.protocol import (
    JudgeRequest,
    Verdict,
    judge_timeout,
    late_verdict,
)
from langchain_dbx_eval.scoring.judges.scales import YesNo

__all__ = ["MlflowBackend"]

_INPUT_TOKENS = "mlflow.assessment.judgeInputTokens"
_OUTPUT_TOKENS = "mlflow.assessment.judgeOutputTokens"
_COST = "mlflow.assessment.judgeCost"


class MlflowBackend:
    """Judge backend that calls `JudgeSpec.mlflow`, with MLflow's prompts and client.

    Args:
        uri: MLflow's model URI, or ``"databricks"`` for its managed judges.
        max_concurrency: Maximum number of concurrent requests.

    Raises:
        MissingDependencyError: MLflow is not installed.
    """

    def __init__(self, uri: str, *, max_concurrency: int = 32) -> None:
        self._functions = require("mlflow.genai.judges", extra="eval")
        self._version = f"mlflow-{require('mlflow', extra='eval').__version__}"
        self._uri = uri
        self._slots = asyncio.Semaphore(max_concurrency)
        self.identity = f"{self._version} {uri}"
        """The version of MLflow, which owns the prompts, and the model URI."""

    async def judge(self, request: JudgeRequest) -> Verdict:
        """See `JudgeBackend.judge`."""
        async with self._slots:
            started = time.perf_counter()
            try:
                timeout = judge_timeout.get()
                verdict = await run_task(call_in_thread(self._call, request), timeout)
            except DeadlineError:
                verdict = late_verdict(request, timeout)
            except Exception as failure:
                verdict = Verdict(error=f"{type(failure).__name__}: {failure}")
            usage = verdict.usage + JudgeUsage(seconds=time.perf_counter() - started)
        return replace(verdict, usage=usage, judge_model=self._uri, prompt_version=self._version)

    def _call(self, request: JudgeRequest) -> Verdict:
        if request.spec.mlflow is None:
            msg = (
                f"MLflow has no counterpart of the judge {request.spec.name!r}. Give this judge a "
                "chat model (model=…)."
            )
            return Verdict(error=msg)
        function = getattr(self._functions, request.spec.mlflow.name)
        feedback = function(**request.spec.mlflow.arguments(request.inputs), model=self._uri)
        usage = _usage(feedback.metadata or {})
        if feedback.error is not None:
            return Verdict(error=str(feedback.error.error_message), usage=usage)
        rating = getattr(feedback.value, "value", feedback.value)
        value = YesNo().parse(rating)
        error = None if value else f"MLflow's judge answered {rating!r}, not 'yes' or 'no'."
        return Verdict(value=value, rationale=feedback.rationale, error=error, usage=usage)


def _usage(metadata: dict[str, Any]) -> JudgeUsage:
    cost = metadata.get(_COST)
    return JudgeUsage(
        calls=1,
        input_tokens=int(metadata.get(_INPUT_TOKENS, 0)),
        output_tokens=int(metadata.get(_OUTPUT_TOKENS, 0)),
        cost_usd=None if cost is None else float(cost),
    )
