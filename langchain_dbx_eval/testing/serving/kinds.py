"""The table of endpoint kinds."""

from __future__ import annotations

from langchain_dbx_eval.testing.serving import (
    chat,
    chat_agent,
    completions,
    custom,
    embeddings,
    responses,
)
from langchain_dbx_eval.testing.serving.endpoints import KindSpec

__all__ = ["ENDPOINT_KINDS"]

# The tasks of agents are those that MLflow 3.17 assigns (mlflow.pyfunc.model).
ENDPOINT_KINDS: dict[str, KindSpec] = {
    spec.name: spec
    for spec in (
        KindSpec("custom", None, custom.answer, is_custom_model=True),
        KindSpec(
            "chat",
            "llm/v1/chat",
            chat.answer,
            can_stream=True,
            openai_path="chat/completions",
        ),
        KindSpec(
            "completions",
            "llm/v1/completions",
            completions.answer,
            can_stream=True,
            openai_path="completions",
        ),
        KindSpec("embeddings", "llm/v1/embeddings", embeddings.answer, openai_path="embeddings"),
        KindSpec(
            "chat_model",
            "agent/v1/chat",
            chat.answer_chat_model,
            can_stream=True,
            is_custom_model=True,
        ),
        KindSpec(
            "responses",
            "agent/v1/responses",
            responses.answer,
            can_stream=True,
            is_custom_model=True,
            openai_path="responses",
        ),
        KindSpec(
            "chat_agent",
            "agent/v2/chat",
            chat_agent.answer,
            can_stream=True,
            is_custom_model=True,
        ),
    )
}
