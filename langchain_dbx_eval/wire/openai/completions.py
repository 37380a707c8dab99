"""Text completions.

Protocol: OpenAI's "Completions" API, as Databricks' completion endpoints implement it
(``llm/v1/completions``). `CHAT_CODEC` sends a prompt to a chat endpoint, as one user message.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.outputs import Generation, GenerationChunk
from typing_extensions import override

from langchain_dbx_eval._internal import json_text
from langchain_dbx_eval._redaction import shorten
from langchain_dbx_eval.wire.openai import chat
from langchain_dbx_eval.wire.stream_reader import EventReader
from langchain_dbx_eval.wire.tasks import TextCodec
from langchain_dbx_eval.wire.validate import (
    expect_dict,
    expect_list,
    expect_text,
    has_error,
    wrong_shape,
)

__all__ = ["CHAT_CODEC", "CODEC", "Stream", "decode", "encode", "split", "token_usage"]


def encode(requests: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the body for one or many prompts; the parameters are those of the first request."""
    if len(requests) == 1:
        return requests[0]
    return {**requests[0], "prompt": [request["prompt"] for request in requests]}


def split(payload: Any, count: int) -> list[Any]:
    """Return the completion of each prompt.

    Args:
        payload: The decoded JSON.
        count: The number of prompts.

    Raises:
        InvalidResponseError: The number of choices is not a multiple of the number of prompts.
    """
    if count == 1:
        return [payload]
    choices = _sorted_choices(payload)
    if len(choices) % count:
        raise wrong_shape(f"as many 'choices' for each of {count} prompts", payload)
    each = len(choices) // count
    return [{"choices": choices[i : i + each]} for i in range(0, len(choices), each)]


def decode(payload: Any) -> list[Generation]:
    """Decode the completion of one prompt: one generation per choice.

    Raises:
        InvalidResponseError: The payload is not a text completion.
    """
    generations = []
    for choice in _sorted_choices(payload):
        info = {name: choice[name] for name in ("finish_reason", "logprobs") if choice.get(name)}
        text = expect_text(choice, "text")
        generations.append(Generation(text=text, generation_info=info or None))
    return generations


def token_usage(payload: Any) -> dict[str, int]:
    """Return the token counts of a response under OpenAI's names; empty if there are none."""
    usage = payload.get("usage") if isinstance(payload, dict) else None
    if not isinstance(usage, dict):
        return {}
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    return {name: usage[name] for name in names if isinstance(usage.get(name), int)}


class Stream(EventReader[GenerationChunk]):
    """Reader of one streamed completion, or chat completion, as text.

    Apps may stream in formats of their own: an event may also be a JSON string, plain text, or an
    object with ``text``, ``token`` or ``content``.
    """

    def __init__(self) -> None:
        super().__init__()
        self._usage: dict[str, int] = {}

    @override
    def _decode(self, data: str) -> GenerationChunk | None:
        try:
            event = json_text.loads(data)
        except (ValueError, RecursionError):
            event = data
        if isinstance(event, dict):
            if has_error(event):
                raise self.failed(shorten(data, 200))
            self._usage = token_usage(event) or self._usage
        text, finish_reason = _decode_event(event)
        if not text and finish_reason is None:
            return None
        self.started = True
        self.finished = self.finished or finish_reason is not None
        self._texts.append(text)
        info = {"finish_reason": finish_reason} if finish_reason else None
        return GenerationChunk(text=text, generation_info=info)

    @override
    def _last_chunk(self) -> GenerationChunk | None:
        info = {"token_usage": self._usage} if self._usage else None
        return GenerationChunk(text="", generation_info=info) if info else None


CODEC = TextCodec(
    encode=encode,
    decode=decode,
    stream=Stream,
    batches=lambda requests: [requests] if requests else [],
    split=split,
    shares_params=True,
)


def _encode_chat(requests: Sequence[dict[str, Any]]) -> dict[str, Any]:
    [request] = requests
    if "prompt" not in request:  # an input hook wrote the messages
        return request
    params = {name: value for name, value in request.items() if name != "prompt"}
    return {"messages": [{"role": "user", "content": request["prompt"]}], **params}


def _decode_chat(payload: Any) -> list[Generation]:
    return [
        Generation(text=choice.text, generation_info=choice.generation_info)
        for choice in chat.decode(payload).generations
    ]


CHAT_CODEC = TextCodec(
    encode=_encode_chat, decode=_decode_chat, stream=Stream, route="chat/completions"
)


def _sorted_choices(payload: Any) -> list[dict[str, Any]]:
    raw = expect_list(expect_dict(payload), "choices")
    if not raw:
        raise wrong_shape("at least one of 'choices'", payload)
    choices = [expect_dict(choice, "objects in 'choices'") for choice in raw]
    # OpenAI numbers the choices prompt by prompt, and may send them in any order.
    if all(isinstance(choice.get("index"), int) for choice in choices):
        choices.sort(key=lambda choice: choice["index"])
    return choices


def _decode_event(event: Any) -> tuple[str, str | None]:
    """Return the text of an event, and the finish reason if it has one."""
    if isinstance(event, str):
        return event, None
    event = expect_dict(event, "a string or an object in its events")
    if "choices" not in event:
        for key in ("text", "token", "content"):
            if isinstance(event.get(key), str):
                return event[key], event.get("finish_reason")
        raise wrong_shape("a string in its events", event)
    choices = expect_list(event, "choices")
    if not choices:
        return "", None
    choice = expect_dict(choices[0], "objects in 'choices'")
    delta = choice.get("delta")
    text = choice.get("text") if delta is None else expect_dict(delta).get("content")
    if text is not None and not isinstance(text, str):
        raise wrong_shape("a string in its events", event)
    reason = choice.get("finish_reason")
    return text or "", str(reason) if reason else None
