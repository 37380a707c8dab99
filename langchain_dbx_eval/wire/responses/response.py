"""`decode`: the JSON of a Responses answer as a message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatResult

from langchain_dbx_eval.errors import (
    DatabricksError,
    InvalidRequestError,
    RateLimitError,
    ServerError,
)
from langchain_dbx_eval.wire.metadata import decode_usage, llm_output, response_metadata
from langchain_dbx_eval.wire.responses.items import Item, call_id_of, decode_item, refusal_in
from langchain_dbx_eval.wire.tool_calls import split_calls
from langchain_dbx_eval.wire.validate import error_text, expect_dict, expect_list, wrong_shape

__all__ = ["METADATA", "decode", "decode_responses_usage", "finish_reason"]

METADATA = (
    "id",
    "model",
    "status",
    "created_at",
    "service_tier",
    "incomplete_details",
    "metadata",
    "custom_outputs",
    # MLflow's traces, if requested: from Databricks' model serving and MLflow's agent server.
    "databricks_output",
    "trace_id",
)
"""The fields of a response that become `response_metadata`."""

# The names of the token counts in the other APIs, and in this one.
_USAGE = {
    "prompt_tokens": "input_tokens",
    "completion_tokens": "output_tokens",
    "prompt_tokens_details": "input_tokens_details",
    "completion_tokens_details": "output_tokens_details",
}

# Prefixes of OpenAI's codes for errors in the request (`openai.types.responses.ResponseError`).
_REQUEST_ERRORS = (
    "invalid_",
    "image_",
    "empty_image",
    "unsupported_image",
    "failed_to_download",
)


def decode(payload: Any) -> ChatResult:
    """Decode the response to a Responses request.

    Args:
        payload: The decoded JSON.

    Returns:
        One generation. If the answer is ``incomplete``, it contains what was generated, and its
        ``finish_reason`` is ``length`` if the tokens ran out, else the reason in the response
        (such as ``content_filter``).

    Raises:
        RateLimitError: The response reports too many requests.
        InvalidRequestError: It reports an error in the request.
        ServerError: It reports another error, or was canceled.
        InvalidResponseError: The payload is not a response of this API.
    """
    response = expect_dict(payload)
    failed = response.get("error") or "error_code" in response
    if failed or response.get("status") in ("failed", "cancelled"):
        raise _error(response)
    items = [expect_dict(item, "objects in 'output'") for item in expect_list(response, "output")]
    if not items and response.get("status") != "incomplete" and not response.get("custom_outputs"):
        raise wrong_shape("at least one item under 'output'", payload)
    blocks = _blocks(items)
    calls, invalid = split_calls(blocks)
    refusal = "".join(map(refusal_in, items))
    metadata = response_metadata(response, METADATA)
    reason = finish_reason(response, has_calls=bool(calls or invalid))
    message = AIMessage(
        content=list(blocks),
        tool_calls=calls,
        invalid_tool_calls=invalid,
        additional_kwargs={"refusal": refusal} if refusal else {},
        usage_metadata=decode_responses_usage(response.get("usage")),
        response_metadata={**metadata, "finish_reason": reason},
        id=metadata.get("id"),
    )
    return ChatResult(
        generations=[ChatGeneration(message=message, generation_info={"finish_reason": reason})],
        llm_output=llm_output(metadata, response),
    )


def decode_responses_usage(usage: Any) -> UsageMetadata | None:
    """Decode a ``usage`` object of this API, or of an older one, which agents forward."""
    if not isinstance(usage, dict):
        return None
    return decode_usage(
        {**usage, **{old: usage[new] for old, new in _USAGE.items() if new in usage}}
    )


def finish_reason(response: Mapping[str, Any], *, has_calls: bool) -> str:
    """Return the finish reason in the terms of Chat Completions.

    Args:
        response: The response, with ``status`` and ``incomplete_details``.
        has_calls: Whether it calls tools that the caller must run.
    """
    if response.get("status") == "incomplete":
        details = response.get("incomplete_details")
        reason = details.get("reason") if isinstance(details, Mapping) else None
        return "length" if reason == "max_output_tokens" else str(reason or "incomplete")
    return "tool_calls" if has_calls else "stop"


def _blocks(items: list[Item]) -> list[dict[str, Any]]:
    results = {call_id_of(item) for item in items if item.get("type") == "function_call_output"}
    return [
        block
        for item in items
        for block in decode_item(
            item,
            has_result=item.get("type") == "function_call" and call_id_of(item) in results,
        )
    ]


def _error(response: dict[str, Any]) -> DatabricksError:
    error = response.get("error") or response
    code = (error.get("code") or error.get("error_code")) if isinstance(error, dict) else None
    code = code if isinstance(code, str) else None
    if response.get("status") == "cancelled":
        return ServerError("The answer was canceled before it was complete.", retryable=False)
    message = f"The model failed to answer: {error_text(error)}"
    if code in ("rate_limit_exceeded", "REQUEST_LIMIT_EXCEEDED"):
        return RateLimitError(message, error_code=code)
    if code and code.startswith(_REQUEST_ERRORS):
        return InvalidRequestError(message, error_code=code)
    return ServerError(message, error_code=code)
