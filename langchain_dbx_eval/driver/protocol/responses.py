"""Results as JSON and as server-sent events, in each response format. Pure functions.

Sources: OpenAI's API reference for chat completions, completions and embeddings and their
streams; MLflow's scoring protocol for predictions.
"""

from __future__ import annotations

import base64
import json
import struct
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_dbx_eval.driver.engines.base import Delta, EmbeddingResult, Generation
from langchain_dbx_eval.driver.protocol.requests import ParsedEmbedding, ParsedGeneration

__all__ = ["DONE", "KEEP_ALIVE", "StreamEncoder", "encode_embeddings", "encode_generations"]

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
        choices.append(choice)
    # A prompt counts once, whatever its number of choices.
    prompt = _total([generation.prompt_tokens for generation in generations[:: request.n]])
    completion = _total([generation.completion_tokens for generation in generations])
    body = {**_head(request, model), "choices": choices}
    if usage := _usage(prompt, completion):
        body["usage"] = usage
    return body


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
    """
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
        self._with_usage = request.usage_in_stream
        self._head = _head(request, model)
        if self._chat:
            self._head["object"] = "chat.completion.chunk"
        self._started = False

    def encode(self, delta: Delta) -> bytes:
        """Return a delta as a server-sent event; an empty delta becomes a keep-alive comment."""
        if not (delta.text or delta.tool_calls or delta.finish_reason):
            return KEEP_ALIVE
        choice: dict[str, Any] = {"index": 0, "finish_reason": delta.finish_reason}
        if self._chat:
            choice["delta"] = self._chat_delta(delta)
        else:
            choice |= {"text": delta.text, "logprobs": None}
        self._started = True
        return _event({**self._head, "choices": [choice]})

    def finish(self, last: Delta) -> bytes:
        """Return the events after the last delta: the usage if requested, and ``[DONE]``."""
        usage = _usage(last.prompt_tokens, last.completion_tokens)
        if not (self._with_usage and usage):
            return DONE
        return _event({**self._head, "choices": [], "usage": usage}) + DONE

    def error(self, error_code: str, message: str) -> bytes:
        """Return the event that ends a failed stream.

        It has the error format of this server, and the key ``error``, which OpenAI's SDK reads.
        """
        error = {"message": message, "type": error_code, "code": error_code}
        return _event({"error_code": error_code, "message": message, "error": error})

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


def _total(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _usage(prompt: int | None, completion: int | None) -> dict[str, int] | None:
    if prompt is None or completion is None:
        return None
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def _event(value: Mapping[str, Any]) -> bytes:
    # ASCII: half of a surrogate pair, which a model may generate, cannot be encoded in UTF-8.
    return b"data: " + json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n\n"


def _base64(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")
