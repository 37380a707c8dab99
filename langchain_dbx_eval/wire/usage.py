"""Token counts: the wire's ``usage`` object as LangChain's `UsageMetadata`."""

from __future__ import annotations

from typing import Any

from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails, UsageMetadata

__all__ = ["decode_usage"]


def decode_usage(usage: Any) -> UsageMetadata | None:
    """Read a ``usage`` object (OpenAI's names, with Databricks' additions for caching).

    Args:
        usage: The object, or whatever stands in its place.

    Returns:
        The counts, or None where there are none to read.
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
