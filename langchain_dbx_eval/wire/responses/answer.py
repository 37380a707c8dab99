"""The Responses API: LangChain messages to OpenAI's items and back.

Protocols: OpenAI's "Responses" API, as ``/serving-endpoints/responses`` speaks it, and MLflow
3.17's ResponsesAgent (`mlflow.types.responses`, the endpoints of task ``agent/v1/responses``),
which adds ``custom_inputs``, ``context`` and ``custom_outputs``.

The content of an answer is always a list of LangChain's standard blocks, in `invoke` and in
streams alike: only blocks have room for the ids, the citations and the reasoning that the next
request must carry again.
"""

from __future__ import annotations

from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from langchain_dbx_eval.errors import (
    DatabricksError,
    InvalidRequestError,
    RateLimitError,
    ServerError,
)
from langchain_dbx_eval.wire.responses.items import (
    Item,
    call_id_of,
    read_item,
    refusal_in,
    tool_calls_in,
)
from langchain_dbx_eval.wire.responses.metadata import (
    failure_text,
    finish_reason,
    llm_output_of,
    metadata_of,
    read_usage,
)
from langchain_dbx_eval.wire.responses.request import encode
from langchain_dbx_eval.wire.responses.stream import ResponsesStream
from langchain_dbx_eval.wire.validate import expect_dict, expect_list, wrong_shape

__all__ = ["ResponsesStream", "decode", "encode"]


# How OpenAI's codes begin that blame what was sent (`openai.types.responses.ResponseError`).
_THE_REQUESTS_FAULT = (
    "invalid_",
    "image_",
    "empty_image",
    "unsupported_image",
    "failed_to_download",
)


def decode(payload: Any) -> ChatResult:
    """Read the answer to a Responses request.

    Args:
        payload: The decoded JSON.

    Returns:
        One generation. Of an answer that is ``incomplete`` it holds what there is, and its
        ``finish_reason`` says why that is all: ``length`` where the tokens ran out, else the
        reason that the answer gives (``content_filter``).

    Raises:
        RateLimitError: The answer says that it failed for too many requests.
        InvalidRequestError: It says that it failed because of what was sent.
        ServerError: It says that it failed otherwise, or was cancelled.
        InvalidResponseError: The payload is not an answer of this API.
    """
    answer = expect_dict(payload)
    failed = answer.get("error") or "error_code" in answer
    if failed or answer.get("status") in ("failed", "cancelled"):
        raise _failure(answer)
    items = [expect_dict(item, "objects in 'output'") for item in expect_list(answer, "output")]
    if not items and answer.get("status") != "incomplete" and not answer.get("custom_outputs"):
        raise wrong_shape("at least one item under 'output'", payload)
    blocks = _blocks(items)
    calls, invalid = tool_calls_in(blocks)
    refusal = "".join(map(refusal_in, items))
    metadata = metadata_of(answer)
    reason = finish_reason(answer, called=bool(calls or invalid))
    message = AIMessage(
        content=list(blocks),
        tool_calls=calls,
        invalid_tool_calls=invalid,
        additional_kwargs={"refusal": refusal} if refusal else {},
        usage_metadata=read_usage(answer.get("usage")),
        response_metadata={**metadata, "finish_reason": reason},
        id=metadata.get("id"),
    )
    return ChatResult(
        generations=[ChatGeneration(message=message, generation_info={"finish_reason": reason})],
        llm_output=llm_output_of(metadata, answer),
    )


def _blocks(items: list[Item]) -> list[dict[str, Any]]:
    kinds = [(item, item.get("type")) for item in items]
    answered = {call_id_of(item) for item, kind in kinds if kind == "function_call_output"}
    return [
        block
        for item, kind in kinds
        for block in read_item(
            item, answered=kind == "function_call" and call_id_of(item) in answered
        )
    ]


def _failure(answer: dict[str, Any]) -> DatabricksError:
    error = answer.get("error") or answer
    code = (error.get("code") or error.get("error_code")) if isinstance(error, dict) else None
    code = code if isinstance(code, str) else None
    if answer.get("status") == "cancelled":
        return ServerError("The answer was cancelled before it was complete.", retryable=False)
    message = f"The model failed to answer: {failure_text(error)}"
    if code in ("rate_limit_exceeded", "REQUEST_LIMIT_EXCEEDED"):
        return RateLimitError(message, error_code=code)
    if code and code.startswith(_THE_REQUESTS_FAULT):
        return InvalidRequestError(message, error_code=code)
    return ServerError(message, error_code=code)
