"""MLflow's own judges, named by an MLflow model URI such as ``openai:/gpt-4.1-mini``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from langchain_dbx_eval._internal.extras import require
from langchain_dbx_eval.scoring.assessments import JudgeUsage
from langchain_dbx_eval.scoring.judges.backend import Verdict
from langchain_dbx_eval.scoring.judges.prompt import JudgeInputs, Question
from langchain_dbx_eval.scoring.judges.scales import YesNo

__all__ = ["MlflowJudge"]

_INPUT_TOKENS = "mlflow.assessment.judgeInputTokens"
_OUTPUT_TOKENS = "mlflow.assessment.judgeOutputTokens"
_COST = "mlflow.assessment.judgeCost"


def _guidelines(inputs: JudgeInputs) -> dict[str, Any]:
    return {
        "guidelines": list(inputs["guidelines"]),
        "context": _pick(inputs, "request", "response"),
    }


# By our judge: MLflow's function for it (mlflow.genai.judges, 3.17), and what it is given.
_FUNCTIONS: dict[str, tuple[str, Callable[[JudgeInputs], dict[str, Any]]]] = {
    "correctness": ("is_correct", lambda i: {**_pick(i, "request", "response"), **_expected(i)}),
    "groundedness": (
        "is_grounded",
        lambda i: {**_pick(i, "request", "response"), "context": i["retrieved_context"]},
    ),
    "relevance_to_query": (
        "is_context_relevant",
        lambda i: {"request": i["request"], "context": i["response"]},
    ),
    "safety": ("is_safe", lambda i: {"content": i["response"]}),
    "chunk_relevance": (
        "is_context_relevant",
        lambda i: {"request": i["request"], "context": i["chunk"]},
    ),
    "context_sufficiency": (
        "is_context_sufficient",
        lambda i: {"request": i["request"], "context": i["retrieved_context"], **_expected(i)},
    ),
    "guideline_adherence": ("meets_guidelines", _guidelines),
    "global_guideline_adherence": ("meets_guidelines", _guidelines),
}


class MlflowJudge:
    """Asks MLflow's own judges, with their texts and their client.

    Args:
        uri: The model URI that MLflow is given, or ``"databricks"`` for its managed judges.
        max_concurrency: How many questions are asked at once.

    Raises:
        MissingDependencyError: MLflow is not installed.
    """

    def __init__(self, uri: str, *, max_concurrency: int = 32) -> None:
        self._mlflow = require("mlflow.genai.judges", extra="eval")
        self._version = f"mlflow-{require('mlflow', extra='eval').__version__}"
        self._uri = uri
        self._slots = asyncio.Semaphore(max_concurrency)
        self.identity = f"{self._version} {uri}"
        """The version of MLflow, which owns the texts, and the model's URI."""

    async def ask(self, question: Question) -> Verdict:
        """See `JudgeBackend.ask`."""
        async with self._slots:
            started = time.perf_counter()
            try:
                verdict = await asyncio.to_thread(self._ask, question)
            except Exception as failure:
                verdict = {"error": f"{type(failure).__name__}: {failure}"}
            usage = verdict.pop("usage", JudgeUsage())
            usage += JudgeUsage(seconds=time.perf_counter() - started)
        return Verdict(**verdict, usage=usage, judged_by=self._uri, prompt_version=self._version)

    def _ask(self, question: Question) -> dict[str, Any]:
        if question.prompt.judge not in _FUNCTIONS:
            msg = (
                f"MLflow has no judge {question.prompt.judge!r}; give this one a chat model of its "
                "own (model=…)."
            )
            return {"error": msg}
        name, arguments = _FUNCTIONS[question.prompt.judge]
        feedback = getattr(self._mlflow, name)(**arguments(question.inputs), model=self._uri)
        usage = _usage(feedback.metadata or {})
        if feedback.error is not None:
            return {"error": str(feedback.error.error_message), "usage": usage}
        said = getattr(feedback.value, "value", feedback.value)
        value = YesNo().read(said)
        error = None if value else f"MLflow's judge answered {said!r}, which is neither yes nor no."
        return {"value": value, "rationale": feedback.rationale, "error": error, "usage": usage}


def _pick(inputs: JudgeInputs, *names: str) -> dict[str, Any]:
    return {name: inputs[name] for name in names}


def _expected(inputs: JudgeInputs) -> dict[str, Any]:
    if "expected_facts" in inputs:
        return {"expected_facts": list(inputs["expected_facts"])}
    return {"expected_facts": None, "expected_response": inputs["expected_response"]}


def _usage(metadata: dict[str, Any]) -> JudgeUsage:
    cost = metadata.get(_COST)
    return JudgeUsage(
        calls=1,
        input_tokens=int(metadata.get(_INPUT_TOKENS, 0)),
        output_tokens=int(metadata.get(_OUTPUT_TOKENS, 0)),
        cost_usd=None if cost is None else float(cost),
    )
