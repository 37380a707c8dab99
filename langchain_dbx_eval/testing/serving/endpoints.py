"""A serving endpoint: its name, its kind, and how the workspace describes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from langchain_dbx_eval.testing.serving.models import Model

__all__ = ["CUSTOM_MODELS", "TASKS", "Endpoint", "EndpointKind"]

EndpointKind = Literal["custom", "chat", "completions", "embeddings", "responses", "chat_agent"]

TASKS: dict[EndpointKind, str | None] = {
    "custom": None,
    "chat": "llm/v1/chat",
    "completions": "llm/v1/completions",
    "embeddings": "llm/v1/embeddings",
    # The tasks that MLflow 3.17 gives to its ResponsesAgent and ChatAgent (mlflow.pyfunc.model).
    "responses": "agent/v1/responses",
    "chat_agent": "agent/v2/chat",
}
# Agents are models that users log, so Databricks describes them like any other custom model.
CUSTOM_MODELS: frozenset[EndpointKind] = frozenset({"custom", "responses", "chat_agent"})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One serving endpoint.

    Attributes:
        name: The name in its URL.
        kind: What it speaks.
        model: What answers.
        external: Whether it passes for an external model (OpenAI and the like behind
            Databricks) instead of a foundation model that Databricks serves.
    """

    name: str
    kind: EndpointKind
    model: Model
    external: bool = False

    def describe(self) -> dict[str, Any]:
        """The answer of ``GET /api/2.0/serving-endpoints/{name}``.

        `endpoint_type` is absent for a custom model, and so is `task` unless it is an agent.
        """
        description: dict[str, Any] = {
            "name": self.name,
            "id": self.name,
            "state": {"ready": "READY", "config_update": "NOT_UPDATING"},
            "config": {"served_entities": [self._served_entity()]},
            "permission_level": "CAN_MANAGE",
        }
        if task := TASKS[self.kind]:
            description["task"] = task
        if self.kind not in CUSTOM_MODELS:
            kind = "EXTERNAL_MODEL" if self.external else "FOUNDATION_MODEL_API"
            description["endpoint_type"] = kind
        return description

    def _served_entity(self) -> dict[str, Any]:
        task = TASKS[self.kind]
        if self.kind in CUSTOM_MODELS:
            return {"name": self.name, "entity_name": self.name, "entity_version": "1"}
        if self.external:
            model = {"name": self.name, "provider": "openai", "task": task}
            return {"name": self.name, "external_model": model}
        return {"name": self.name, "foundation_model": {"name": self.name}}
