"""Serving endpoints: their specification and their description."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from langchain_dbx_eval.testing.serving.backends import Backend

__all__ = ["Endpoint", "EndpointKind", "EventStream", "KindSpec"]

EndpointKind = Literal[
    "custom", "chat", "completions", "embeddings", "chat_model", "responses", "chat_agent"
]


@dataclass(frozen=True, slots=True)
class EventStream:
    """An answer that is sent as server-sent events."""

    events: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class KindSpec:
    """Specification of one kind of endpoint.

    Attributes:
        name: The name of the kind.
        task: Databricks' name of the task; None: such endpoints have none.
        answer: Function that returns the answer to a request body. It raises `ApiError` for an
            invalid request, and TypeError if the backend returned an unsupported type.
        can_stream: Whether a request with ``stream: true`` is answered with events.
        is_custom_model: Whether Databricks describes such an endpoint as a custom model. Agents
            are models that users log, so they are described as custom models too.
        openai_path: The path below ``/serving-endpoints`` that OpenAI's client uses, which names
            the endpoint in `model`; None: there is none.
    """

    name: EndpointKind
    task: str | None
    answer: Callable[[Endpoint, dict[str, Any]], dict[str, Any] | EventStream]
    can_stream: bool = False
    is_custom_model: bool = False
    openai_path: str | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One serving endpoint.

    Attributes:
        name: The name in its URL.
        spec: The specification of its kind.
        backend: The engine or function that computes the answers.
        external: Whether it emulates an external model (OpenAI and others behind Databricks)
            instead of a foundation model that Databricks serves.
    """

    name: str
    spec: KindSpec
    backend: Backend
    external: bool = False

    def describe(self) -> dict[str, Any]:
        """Return the answer of ``GET /api/2.0/serving-endpoints/{name}``.

        A custom model has no `endpoint_type`, and no `task` unless it is an agent.
        """
        description: dict[str, Any] = {
            "name": self.name,
            "id": self.name,
            "state": {"ready": "READY", "config_update": "NOT_UPDATING"},
            "config": {"served_entities": [self._served_entity()]},
            "permission_level": "CAN_MANAGE",
        }
        if self.spec.task:
            description["task"] = self.spec.task
        if not self.spec.is_custom_model:
            endpoint_type = "EXTERNAL_MODEL" if self.external else "FOUNDATION_MODEL_API"
            description["endpoint_type"] = endpoint_type
        return description

    def _served_entity(self) -> dict[str, Any]:
        if self.spec.is_custom_model:
            return {"name": self.name, "entity_name": self.name, "entity_version": "1"}
        if self.external:
            model = {"name": self.name, "provider": "openai", "task": self.spec.task}
            return {"name": self.name, "external_model": model}
        return {"name": self.name, "foundation_model": {"name": self.name}}
