"""What stands around the items of a Responses answer: usage, metadata, how and why it ended."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from langchain_core.messages.ai import UsageMetadata

from langchain_dbx_eval.wire.openai.chat import PROVIDER
from langchain_dbx_eval.wire.usage import decode_usage
from langchain_dbx_eval.wire.validate import expect_dict, wrong_shape

__all__ = [
    "METADATA",
    "failure_text",
    "finish_reason",
    "llm_output_of",
    "metadata_of",
    "read_event",
    "read_usage",
]

METADATA = {
    "id": "id",
    "model": "model_name",
    "status": "status",
    "created_at": "created_at",
    "service_tier": "service_tier",
    "incomplete_details": "incomplete_details",
    "metadata": "metadata",
    "custom_outputs": "custom_outputs",
    # MLflow's traces, where they were asked for: Databricks' model serving, MLflow's agent server.
    "databricks_output": "databricks_output",
    "trace_id": "trace_id",
}

# The API's names of the counts, by the names that the other APIs have for them.
_USAGE = {
    "prompt_tokens": "input_tokens",
    "completion_tokens": "output_tokens",
    "prompt_tokens_details": "input_tokens_details",
    "completion_tokens_details": "output_tokens_details",
}

_EXCERPT_CHARS = 500


def metadata_of(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The `response_metadata` of an answer, but for its `finish_reason`."""
    told = {
        name: answer[key]
        for key, name in METADATA.items()
        if answer.get(key) is not None
        # LangChain and its tracers expect text in these two.
        and (key not in ("id", "model") or isinstance(answer[key], str))
    }
    return {"model_provider": PROVIDER, **told}


def llm_output_of(metadata: Mapping[str, Any], answer: Mapping[str, Any]) -> dict[str, Any]:
    """The `llm_output` of an answer: its model, and the usage as it came."""
    told = {"model_name": metadata.get("model_name"), "token_usage": answer.get("usage")}
    return {name: value for name, value in told.items() if value}


def read_usage(usage: Any) -> UsageMetadata | None:
    """Read a ``usage`` object of this API, or of one of the older ones, which agents pass on."""
    if not isinstance(usage, dict):
        return None
    return decode_usage(
        {**usage, **{old: usage[new] for old, new in _USAGE.items() if new in usage}}
    )


def finish_reason(answer: Mapping[str, Any], *, called: bool) -> str:
    """Why an answer ended, in the words of Chat Completions.

    Args:
        answer: The answer, of which ``status`` and ``incomplete_details`` are read.
        called: Whether it calls tools that are still to be run.
    """
    if answer.get("status") == "incomplete":
        details = answer.get("incomplete_details")
        reason = details.get("reason") if isinstance(details, Mapping) else None
        return "length" if reason == "max_output_tokens" else str(reason or "incomplete")
    return "tool_calls" if called else "stop"


def read_event(data: str) -> dict[str, Any]:
    """The object that one event of a stream holds.

    Raises:
        InvalidResponseError: It holds none.
    """
    try:
        return expect_dict(json.loads(data))
    except (ValueError, RecursionError):
        raise wrong_shape("JSON in its events", data) from None


def failure_text(error: Any) -> str:
    """What an error says, whatever its form: text, ``{"code", "message"}``, or anything else."""
    if isinstance(error, Mapping):
        if isinstance(error.get("error"), Mapping | str):
            return failure_text(error["error"])
        code, message = error.get("code") or error.get("error_code"), error.get("message")
        if message:
            return f"{code}: {message}"[:_EXCERPT_CHARS] if code else str(message)[:_EXCERPT_CHARS]
    if isinstance(error, str) and error:
        return error[:_EXCERPT_CHARS]
    return f"it does not say why ({json.dumps(error, default=str)[:_EXCERPT_CHARS]})"
