"""From what an engine answered to the JSON of each dialect. Pure functions.

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
from langchain_dbx_eval.driver.protocol.requests import EmbeddingAsk, GenerationAsk

__all__ = ["DONE", "KEEP_ALIVE", "StreamWriter", "embeddings", "error_event", "generations"]

DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"
"""A comment in a stream of events, which clients skip."""


def generations(ask: GenerationAsk, answers: Sequence[Generation], name: str) -> Any:
    """Write answers in the form that was asked for.

    Args:
        ask: The request.
        answers: One a request in it.
        name: The model's name, where the client gave none.

    Returns:
        The JSON value.
    """
    if ask.form == "text":
        return answers[0].text
    if ask.form == "predictions":
        return {"predictions": [answer.text for answer in answers]}
    chat = ask.form == "chat"
    head = _head(ask, name, "chat.completion" if chat else "text_completion")
    choices = [
        {
            "index": number,
            **({"message": _message(answer)} if chat else {"text": answer.text, "logprobs": None}),
            "finish_reason": answer.finish_reason,
        }
        for number, answer in enumerate(answers)
    ]
    # A prompt is read once, however many answers it has.
    prompt = _total([answer.prompt_tokens for answer in answers[:: ask.n]])
    completion = _total([answer.completion_tokens for answer in answers])
    usage = _usage(prompt, completion)
    return {**head, "choices": choices, **({"usage": usage} if usage else {})}


def embeddings(ask: EmbeddingAsk, vectors: EmbeddingResult, name: str) -> dict[str, Any]:
    """Write vectors as OpenAI's API or MLflow's scoring protocol does.

    A text of which the model saw the beginning only is named under ``truncated``.
    """
    if ask.predictions:
        answer: dict[str, Any] = {"predictions": [list(vector) for vector in vectors.values]}
        if vectors.truncated:
            answer["truncated"] = list(vectors.truncated)
        return answer
    tokens = vectors.prompt_tokens or 0
    answer = {
        "object": "list",
        "data": [
            {
                "object": "embedding",
                "index": number,
                "embedding": _base64(vector) if ask.base64 else list(vector),
            }
            for number, vector in enumerate(vectors.values)
        ],
        "model": ask.model or name,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    if vectors.truncated:
        answer["truncated"] = list(vectors.truncated)
    return answer


class StreamWriter:
    """Writes one streamed answer as server-sent events.

    Args:
        ask: The request.
        name: The model's name, where the client gave none.
    """

    def __init__(self, ask: GenerationAsk, name: str) -> None:
        self._chat = ask.form == "chat"
        self._usage_wanted = ask.usage_in_stream
        self._head = _head(ask, name, "chat.completion.chunk" if self._chat else "text_completion")
        self._begun = False

    def write(self, piece: Delta) -> bytes:
        """The event of a piece, or a comment for a piece without anything in it."""
        if not (piece.text or piece.tool_calls or piece.finish_reason):
            return KEEP_ALIVE
        choice: dict[str, Any] = {"index": 0, "finish_reason": piece.finish_reason}
        if self._chat:
            choice["delta"] = self._delta(piece)
        else:
            choice |= {"text": piece.text, "logprobs": None}
        self._begun = True
        return _event({**self._head, "choices": [choice]})

    def end(self, piece: Delta) -> bytes:
        """What follows the last piece: the usage, where it was asked for, and the end's mark."""
        usage = _usage(piece.prompt_tokens, piece.completion_tokens)
        if not (self._usage_wanted and usage):
            return DONE
        return _event({**self._head, "choices": [], "usage": usage}) + DONE

    def _delta(self, piece: Delta) -> dict[str, Any]:
        delta: dict[str, Any] = {} if self._begun else {"role": "assistant", "content": ""}
        if piece.text:
            delta["content"] = piece.text
        if piece.tool_calls:
            delta["tool_calls"] = list(piece.tool_calls)
        return delta


def error_event(error_code: str, message: str) -> bytes:
    """The event that ends a stream which failed: the server's form of error.

    The key ``error`` is beside it because OpenAI's SDK looks for that one in streams.
    """
    error = {"message": message, "type": error_code, "code": error_code}
    return _event({"error_code": error_code, "message": message, "error": error})


def _head(ask: GenerationAsk, name: str, kind: str) -> dict[str, Any]:
    prefix = "chatcmpl" if ask.form == "chat" else "cmpl"
    return {
        "id": f"{prefix}-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": ask.model or name,
    }


def _message(answer: Generation) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text}
    if answer.tool_calls:
        message["tool_calls"] = list(answer.tool_calls)
        message["content"] = answer.text or None
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
    # ASCII: a model's half of a surrogate pair has no bytes in UTF-8.
    return b"data: " + json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n\n"


def _base64(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")
