"""The arguments of the components for type checkers, IDEs and `inspect.signature`.

Pydantic's own signature has one name and the field's type per argument. These have every documented
name, and the types that are accepted, such as a plain string for a secret.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from collections.abc import Callable

    from databricks.sdk import WorkspaceClient
    from langchain_core.caches import BaseCache
    from langchain_core.callbacks import Callbacks
    from pydantic import BaseModel, SecretStr

    from langchain_dbx_eval.client.hooks import Hook

__all__ = ["OTHER_NAMES", "ComponentSignature", "ConnectionArguments", "ModelArguments"]

OTHER_NAMES = {"api_key": "api_token", "profile": "profile_name"}
"""Other names of the arguments of all components, and their fields."""


class ConnectionArguments(TypedDict, total=False):
    """The arguments that the three components share; see `DatabricksConnection`."""

    host: str | None
    api_token: SecretStr | str | None
    api_key: SecretStr | str | None
    profile_name: str | None
    profile: str | None
    workspace_client: WorkspaceClient | None
    base_url: str | None
    route_optimized: bool
    cluster_id: str | None
    cluster_driver_port: int | str | None
    org_id: str
    path: str
    driver_api_key: SecretStr | str | None
    timeout: float
    stream_chunk_timeout: float
    max_retries: int
    transform_input_fn: Hook | None
    transform_output_fn: Hook | None


class ModelArguments(ConnectionArguments, total=False):
    """The arguments that LangChain's language models add."""

    name: str | None
    cache: BaseCache | bool | None
    verbose: bool
    callbacks: Callbacks
    tags: list[str] | None
    metadata: dict[str, Any] | None
    custom_get_token_ids: Callable[[str], list[int]] | None


class ComponentSignature:
    """The `__signature__` of a component: its fields, each followed by its other names."""

    def __get__(self, instance: Any, owner: type[BaseModel]) -> inspect.Signature:
        if instance is not None:  # `inspect.signature` of an instance is that of its `__call__`
            raise AttributeError
        other_names: dict[str, str] = getattr(owner, "OTHER_NAMES", {})
        parameters: dict[str, inspect.Parameter] = {}
        for name, field in owner.model_fields.items():
            default = field.get_default(call_default_factory=True)
            for shown in (name, *(other for other, of in other_names.items() if of == name)):
                parameters[shown] = inspect.Parameter(
                    shown,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=default,
                    annotation=field.annotation,
                )
        return inspect.Signature(list(parameters.values()))
