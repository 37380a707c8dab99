"""The arguments of the components for type checkers, IDEs and `inspect.signature`.

Pydantic's own signature has one name and the field's type per argument. These have every documented
name, and the types that are accepted, such as a plain string for a secret.
"""

from __future__ import annotations

import inspect
from collections.abc import Set
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from collections.abc import Callable

    from databricks.sdk import WorkspaceClient
    from langchain_core.caches import BaseCache
    from langchain_core.callbacks import Callbacks
    from pydantic import BaseModel, SecretStr

    from langchain_dbx_eval.client.hooks import Hook

__all__ = [
    "OTHER_NAMES",
    "ComponentSignature",
    "ConnectionArguments",
    "ModelArguments",
    "advice_for_unknown",
]

OTHER_NAMES = {"api_key": "api_token", "profile": "profile_name"}
"""Other names of the arguments of all components, and their fields."""


# databricks-langchain's, which this package replaces by another argument.
_REPLACED = {
    "use_ai_gateway": 'base_url="/ai-gateway/mlflow/v1"',
    "use_ai_gateway_native_api": 'base_url="/ai-gateway/openai/v1"',
}
_MODEL_PARAMS = frozenset(
    {
        "dimensions",
        "encoding_format",
        "frequency_penalty",
        "instruction",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "parallel_tool_calls",
        "presence_penalty",
        "reasoning_effort",
        "response_format",
        "seed",
        "thinking",
        "tool_choice",
        "tools",
        "top_k",
        "top_logprobs",
        "top_p",
    }
)


def advice_for_unknown(name: str, known: Set[str], params_fields: str) -> str:
    """Return what to write instead of an unknown argument.

    Args:
        name: The argument.
        known: The arguments of the component.
        params_fields: Its arguments for parameters of the model.
    """
    if name in _REPLACED:
        return f"Use {_REPLACED[name]} instead."
    [near] = get_close_matches(name, known | _MODEL_PARAMS, n=1) or [""]
    advice = f"Pass parameters of the model in {params_fields}=."
    if near == name:
        return f"It is a parameter of the model. {advice}"
    return f"Did you mean {near!r}? {advice}" if near else advice


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
    max_response_bytes: int
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
