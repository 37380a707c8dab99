"""Text completions: prompts to OpenAI's JSON and back.

Protocol: OpenAI's "Completions" API, as Databricks' completion endpoints speak it
(``llm/v1/completions``).
"""

from __future__ import annotations

import json
from typing import Any

from langchain_core.outputs import Generation, GenerationChunk

from langchain_dbx_eval.errors import StreamInterruptedError
from langchain_dbx_eval.wire.validate import (
    expect_dict,
    expect_list,
    expect_text,
    is_failure,
    wrong_shape,
)

__all__ = ["CompletionStream", "decode", "token_usage"]

_DONE = "[DONE]"


def decode(payload: Any, prompts: int = 1) -> list[list[Generation]]:
    """Read the answer to one or many prompts.

    Args:
        payload: The decoded JSON.
        prompts: How many prompts were sent.

    Returns:
        For each prompt its generations: as many as were asked for by ``n``.

    Raises:
        InvalidResponseError: The payload is not a text completion, or not of all prompts.
    """
    choices = expect_list(expect_dict(payload), "choices")
    if not choices or len(choices) % prompts:
        raise wrong_shape(f"as many 'choices' for each of {prompts} prompts", payload)
    decoded = [expect_dict(choice, "objects in 'choices'") for choice in choices]
    # OpenAI numbers the choices prompt by prompt, and may send them in any order.
    if all(isinstance(choice.get("index"), int) for choice in decoded):
        decoded.sort(key=lambda choice: choice["index"])
    each = len(decoded) // prompts
    generations = [_decode_choice(choice) for choice in decoded]
    return [generations[i : i + each] for i in range(0, len(generations), each)]


def token_usage(payload: Any) -> dict[str, int]:
    """The token counts of an answer, under OpenAI's names; empty where it tells none."""
    usage = payload.get("usage") if isinstance(payload, dict) else None
    if not isinstance(usage, dict):
        return {}
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    return {name: usage[name] for name in names if isinstance(usage.get(name), int)}


class CompletionStream:
    """Reads the events of one streamed completion.

    An app of one's own may stream in its own way: an event may also be a JSON string, plain text,
    or an object with ``text``, ``token`` or ``content``.
    """

    def __init__(self) -> None:
        self._text: list[str] = []
        self._usage: dict[str, int] = {}
        self._finished = False

    @property
    def started(self) -> bool:
        """Whether text has been read, so that the call cannot begin anew."""
        return bool(self._text)

    def feed(self, data: str) -> GenerationChunk | None:
        """Take one event.

        Args:
            data: The event's payload.

        Returns:
            What it adds, or None where it adds nothing.

        Raises:
            StreamInterruptedError: The event says that the model failed.
            InvalidResponseError: The event has no text.
        """
        if data == _DONE:
            self._finished = True
            return None
        try:
            event = json.loads(data)
        except ValueError:
            event = data
        if isinstance(event, dict):
            if is_failure(event):
                msg = f"The model failed in the middle of its answer: {data[:200]}"
                raise StreamInterruptedError(msg, partial_text="".join(self._text))
            self._usage = token_usage(event) or self._usage
        text, finish_reason = _read_event(event)
        self._finished = self._finished or finish_reason is not None
        if not text and finish_reason is None:
            return None
        self._text.append(text)
        info = {"finish_reason": finish_reason} if finish_reason else None
        return GenerationChunk(text=text, generation_info=info)

    def finish(self) -> GenerationChunk | None:
        """Close the stream.

        Returns:
            A last chunk with the usage, where the server told it.

        Raises:
            StreamInterruptedError: The stream ended without the model having said so.
        """
        if not self._finished:
            raise self.cut("it ended before the model had finished")
        info = {"token_usage": self._usage} if self._usage else None
        return GenerationChunk(text="", generation_info=info) if info else None

    def cut(self, reason: str) -> StreamInterruptedError:
        """The error for a stream that was lost here, with the text so far."""
        msg = f"The stream was cut: {reason}."
        return StreamInterruptedError(msg, partial_text="".join(self._text))


def _read_event(event: Any) -> tuple[str, str | None]:
    """The text of an event, and why the model finished, if it did."""
    if isinstance(event, str):
        return event, None
    event = expect_dict(event, "a text or an object in its events")
    if "choices" not in event:
        for key in ("text", "token", "content"):
            if isinstance(event.get(key), str):
                return event[key], event.get("finish_reason")
        raise wrong_shape("a text in its events", event)
    choices = expect_list(event, "choices")
    if not choices:
        return "", None
    choice = expect_dict(choices[0], "objects in 'choices'")
    delta = choice.get("delta")
    text = choice.get("text") if delta is None else expect_dict(delta).get("content")
    if text is not None and not isinstance(text, str):
        raise wrong_shape("a text in its events", event)
    reason = choice.get("finish_reason")
    return text or "", str(reason) if reason else None


def _decode_choice(choice: dict[str, Any]) -> Generation:
    info = {name: choice[name] for name in ("finish_reason", "logprobs") if choice.get(name)}
    return Generation(text=expect_text(choice, "text"), generation_info=info or None)
