"""The fields of a response beside its messages: token usage, model name, ids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails, UsageMetadata

__all__ = ["PROVIDER", "decode_usage", "llm_output", "response_metadata"]

PROVIDER = "databricks"
"""The `model_provider` of our messages. langchain-core finds our block translator by it."""


def response_metadata(payload: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return a message's `response_metadata`, without its `finish_reason`.

    Args:
        payload: The response.
        names: The fields of the response, and their names in LangChain.
    """
    fields = {
        name: payload[key]
        for key, name in names.items()
        if payload.get(key) is not None
        # LangChain and its tracers expect strings in these two.
        and (key not in ("id", "model") or isinstance(payload[key], str))
    }
    return {"model_provider": PROVIDER, **fields}


def llm_output(metadata: Mapping[str, Any], payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return a result's `llm_output`: the model, and the usage in the format of the response."""
    fields = {"model_name": metadata.get("model_name"), "token_usage": payload.get("usage")}
    return {name: value for name, value in fields.items() if value}


def decode_usage(usage: Any) -> UsageMetadata | None:
    """Decode a ``usage`` object with OpenAI's names and Databricks' additions for caching.

    Args:
        usage: The object, or any other JSON.

    Returns:
        The token counts; None if there are none.
    """
    if not isinstance(usage, dict):
        return None
    prompt, completion = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    if prompt is None and completion is None:
        return None
    total = _count(usage, "total_tokens")
    counts = UsageMetadata(
        input_tokens=prompt or 0,
        output_tokens=completion or 0,
        total_tokens=total if total is not None else (prompt or 0) + (completion or 0),
    )
    inputs = _details(usage, "prompt_tokens_details")
    outputs = _details(usage, "completion_tokens_details")
    cache_read = _count(usage, "cache_read_input_tokens", _count(inputs, "cached_tokens"))
    cache_creation = _count(usage, "cache_creation_input_tokens")
    reasoning = _count(usage, "reasoning_tokens", _count(outputs, "reasoning_tokens"))
    input_details = InputTokenDetails()
    if cache_read is not None:
        input_details["cache_read"] = cache_read
    if cache_creation is not None:
        input_details["cache_creation"] = cache_creation
    if input_details:
        counts["input_token_details"] = input_details
    if reasoning is not None:
        counts["output_token_details"] = OutputTokenDetails(reasoning=reasoning)
    return counts


def _details(usage: dict[str, Any], key: str) -> dict[str, Any]:
    details = usage.get(key)
    return details if isinstance(details, dict) else {}


def _count(usage: dict[str, Any], key: str, default: int | None = None) -> int | None:
    value = usage.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else default
