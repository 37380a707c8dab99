"""Results as JSON and as server-sent events, in each response format. Pure functions.

Sources: OpenAI's API reference for chat completions, completions and embeddings and their
streams; MLflow's scoring protocol for predictions.
"""

from __future__ import annotations

import base64
import json
import math
import struct
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from langchain_dbx_eval.driver.engines.base import (
    Delta,
    EmbeddingResult,
    Generation,
    GenerationRequest,
)
from langchain_dbx_eval.driver.engines.messages import content_texts
from langchain_dbx_eval.driver.errors import RequestError, error_body
from langchain_dbx_eval.driver.protocol.requests import ParsedEmbedding, ParsedGeneration
from langchain_dbx_eval.driver.runtime.token_estimate import estimate_tokens

__all__ = [
    "DONE",
    "KEEP_ALIVE",
    "StreamEncoder",
    "encode_embeddings",
    "encode_event",
    "encode_generations",
    "usage",
]

DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"
"""A comment in a stream of events, which clients skip."""


def encode_generations(
    request: ParsedGeneration, generations: Sequence[Generation], model: str
) -> Any:
    """Encode completions in the response format of the request.

    Args:
        request: The parsed request.
        generations: One per entry of ``request.requests``.
        model: The model name to return if the request has none.

    Returns:
        The JSON value.
    """
    if request.response_format == "text":
        return generations[0].text
    if request.response_format == "predictions":
        return {"predictions": [generation.text for generation in generations]}
    chat = request.response_format == "chat"
    choices = []
    for index, generation in enumerate(generations):
        choice: dict[str, Any] = {"index": index, "finish_reason": generation.finish_reason}
        if chat:
            choice["message"] = _message(generation)
        else:
            choice |= {"text": generation.text, "logprobs": None}
        if generation.logprobs is not None:
            choice["logprobs"] = generation.logprobs
        choices.append(choice)
    return {
        **_head(request, model),
        "choices": choices,
        "usage": usage(request.requests, generations, request.n),
    }


def encode_embeddings(
    request: ParsedEmbedding, result: EmbeddingResult, model: str
) -> dict[str, Any]:
    """Encode vectors as in OpenAI's API or MLflow's scoring protocol.

    The indices of truncated texts are returned under ``truncated``.

    Args:
        request: The parsed request.
        result: One vector per text.
        model: The model name to return if the request has none.

    Returns:
        The JSON value.

    Raises:
        RequestError: 500, a vector contains NaN or Infinity, which JSON does not have.
    """
    for index, vector in enumerate(result.values):
        # A sum is not finite if one number is not, and takes a fifth of the time.
        if not math.isfinite(sum(vector)) and not all(map(math.isfinite, vector)):
            message = f"The model returned an embedding with NaN or Infinity, for text {index}."
            raise RequestError(500, "INVALID_MODEL_OUTPUT", message)
    truncated = {"truncated": list(result.truncated)} if result.truncated else {}
    if request.predictions:
        return {"predictions": [list(vector) for vector in result.values], **truncated}
    tokens = result.prompt_tokens or 0
    return {
        "object": "list",
        "data": [
            {
                "object": "embedding",
                "index": index,
                "embedding": _base64(vector) if request.base64 else list(vector),
            }
            for index, vector in enumerate(result.values)
        ],
        "model": request.model or model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        **truncated,
    }


class StreamEncoder:
    """Encode one streamed completion as server-sent events.

    Args:
        request: The parsed request.
        model: The model name to return if the request has none.
    """

    def __init__(self, request: ParsedGeneration, model: str) -> None:
        self._chat = request.response_format == "chat"
        self._requests = request.requests
        self._with_usage = request.usage_in_stream
        self._deltas: list[Delta] = []
        self._head = _head(request, model)
        if self._chat:
            self._head["object"] = "chat.completion.chunk"
        self._started = False

    def encode(self, delta: Delta) -> bytes:
        """Return a delta as a server-sent event; an empty delta becomes a keep-alive comment."""
        if not (delta.text or delta.tool_calls or delta.finish_reason or delta.logprobs):
            return KEEP_ALIVE
        if self._with_usage:
            self._deltas.append(delta)
        choice: dict[str, Any] = {"index": 0, "finish_reason": delta.finish_reason}
        if self._chat:
            choice["delta"] = self._chat_delta(delta)
        else:
            choice |= {"text": delta.text, "logprobs": None}
        if delta.logprobs is not None:
            choice["logprobs"] = delta.logprobs
        self._started = True
        return encode_event({**self._head, "choices": [choice]})

    def finish(self, last: Delta) -> bytes:
        """Return the events after the last delta: the usage if requested, and ``[DONE]``."""
        if not self._with_usage:
            return DONE
        whole = replace(
            last,
            text="".join(delta.text for delta in self._deltas),
            tool_calls=tuple(call for delta in self._deltas for call in delta.tool_calls),
        )
        counts = usage(self._requests, [whole])
        return encode_event({**self._head, "choices": [], "usage": counts}) + DONE

    def error(self, error: RequestError) -> bytes:
        """Return the event that ends a failed stream."""
        return encode_event(error_body(error))

    def _chat_delta(self, delta: Delta) -> dict[str, Any]:
        fields: dict[str, Any] = {} if self._started else {"role": "assistant", "content": ""}
        if delta.text:
            fields["content"] = delta.text
        if delta.tool_calls:
            fields["tool_calls"] = list(delta.tool_calls)
        return fields


def _head(request: ParsedGeneration, model: str) -> dict[str, Any]:
    chat = request.response_format == "chat"
    return {
        "id": f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex}",
        "object": "chat.completion" if chat else "text_completion",
        "created": int(time.time()),
        "model": request.model or model,
    }


def _message(generation: Generation) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": generation.text}
    if generation.tool_calls:
        message["tool_calls"] = list(generation.tool_calls)
        message["content"] = generation.text or None
    return message


def usage(
    requests: Sequence[GenerationRequest], results: Sequence[Generation | Delta], n: int = 1
) -> dict[str, Any]:
    """Return OpenAI's usage; what the engine did not count is estimated, and marked as such.

    OpenAI's clients read these counts without checking that they exist.
    """
    prompt = completion = 0
    estimated = False
    for index, (request, result) in enumerate(zip(requests, results, strict=True)):
        if index % n == 0:  # a prompt counts once, whatever its number of choices
            count = result.prompt_tokens
            estimated |= count is None
            prompt += _estimate_prompt(request) if count is None else count
        count = result.completion_tokens
        estimated |= count is None
        completion += _estimate_completion(result) if count is None else count
    counts = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
    return {**counts, "estimated": True} if estimated else counts


def _estimate_prompt(request: GenerationRequest) -> int:
    return estimate_tokens(request.prompt) + sum(
        estimate_tokens(text) for message in request.messages for text in content_texts(message)
    )


def _estimate_completion(result: Generation | Delta) -> int:
    return estimate_tokens(result.text) + sum(
        estimate_tokens((call.get("function") or {}).get("arguments") or "")
        for call in result.tool_calls
    )


def encode_event(value: Mapping[str, Any]) -> bytes:
    """Return a server-sent event."""
    # ASCII: half of a surrogate pair, which a model may generate, cannot be encoded in UTF-8.
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return b"data: " + text.encode("ascii") + b"\n\n"


def _base64(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")
