"""Who answers the judges' questions, by whatever name the user gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel

from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.scoring.judges.backend import JudgeBackend, RememberingJudge
from langchain_dbx_eval.scoring.judges.cache import JudgeCache
from langchain_dbx_eval.scoring.judges.chat_backend import ChatJudge
from langchain_dbx_eval.scoring.judges.mlflow_backend import MlflowJudge

__all__ = ["judge_backend"]

_ENDPOINT_SCHEMES = ("endpoints", "databricks")


def judge_backend(
    judge: Any, cache: str | Path | None = None, *, max_concurrency: int = 32
) -> JudgeBackend:
    """Who answers the judges' questions.

    Args:
        judge: A LangChain chat model; a serving endpoint (``"endpoints:/name"`` or
            ``"databricks:/name"``); or an MLflow model URI (``"openai:/gpt-4.1-mini"``, or
            ``"databricks"``), which runs MLflow's own judges.
        cache: A file to keep verdicts in.
        max_concurrency: How many questions are asked at once.

    Raises:
        ConfigurationError: It is none of these, or the cache cannot be used.
    """
    disk = JudgeCache(cache) if cache is not None else None
    if isinstance(judge, BaseChatModel):
        return RememberingJudge(ChatJudge(judge, max_concurrency=max_concurrency), disk)
    if isinstance(judge, str):
        scheme, _, name = judge.partition(":/")
        if name and scheme in _ENDPOINT_SCHEMES:
            from langchain_dbx_eval.chat_models import ChatDatabricks

            model = ChatDatabricks(model=name.strip("/"), temperature=0.0)
            return RememberingJudge(ChatJudge(model, max_concurrency=max_concurrency), disk)
        if (scheme and name) or judge == "databricks":
            return RememberingJudge(MlflowJudge(judge, max_concurrency=max_concurrency), disk)
    msg = (
        f"judge={judge!r} cannot judge. Give a LangChain chat model such as ChatDatabricks(…), an "
        "endpoint such as 'endpoints:/my-chat', or an MLflow model URI such as "
        "'openai:/gpt-4.1-mini'."
    )
    raise ConfigurationError(msg)
