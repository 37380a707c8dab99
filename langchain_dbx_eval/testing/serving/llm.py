"""What chat and completions endpoints have in common: request fields, stop, usage, streams.

Tokens are words between white space, unless the engine counts them: enough to see that usage
arrives and adds up, and easy to check by hand.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

from langchain_dbx_eval.driver.engines.base import Generation
from langchain_dbx_eval.testing.errors import invalid_parameter, unknown_field
from langchain_dbx_eval.testing.serving.endpoints import Endpoint
from langchain_dbx_eval.testing.serving.models import stop_strings

__all__ = [
    "Delta",
    "EventStream",
    "LlmCall",
    "count_tokens",
    "head",
    "pieces",
    "stream",
    "usage",
    "write",
]

_OWN_FIELDS = ("model", "n", "stop", "stream", "stream_options")
_INPUT_FIELDS = (
    "messages",
    "prompt",
    "input",
    "dataframe_records",
    "dataframe_split",
    "instances",
    "inputs",
)


@dataclass(frozen=True, slots=True)
class EventStream:
    """An answer that is sent as server-sent events."""

    events: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Delta:
    """One step of a stream: an entry of `choices`, and the text that it adds."""

    choice: dict[str, Any]
    text: str = ""


@dataclass(frozen=True, slots=True)
class LlmCall:
    """A request to a chat or completions endpoint, checked and taken apart.

    Attributes:
        subject: The messages or prompts.
        params: The fields that are the model's business.
        n: How many answers are wanted.
        stop: Each answer ends before the first of these.
        stream: Whether to answer with events.
        include_usage: Whether `stream_options` asks for usage.
    """

    subject: Any
    params: dict[str, Any]
    n: int
    stop: tuple[str, ...]
    stream: bool
    include_usage: bool

    @classmethod
    def parse(cls, endpoint: Endpoint, body: dict[str, Any], field: str) -> LlmCall:
        """Take a request apart.

        Args:
            endpoint: The endpoint that was asked.
            body: The request.
            field: The field that holds the messages or prompts.

        Raises:
            Refusal: That field is missing, or another has a value that is not allowed.
        """
        if field not in body:
            for other in _INPUT_FIELDS:
                if other in body:
                    raise unknown_field(other)
            raise invalid_parameter(f"Missing required parameter: '{field}'")
        # langchain pull request 14100: external models refuse a null.
        if endpoint.external and body.get("stop", ()) is None:
            raise invalid_parameter("'stop' must not be null.")
        n = body.get("n", 1)
        if not isinstance(n, int) or n < 1:
            raise invalid_parameter("'n' must be a positive integer.")
        stream_options = body.get("stream_options") or {}
        if not isinstance(stream_options, dict):
            raise invalid_parameter("'stream_options' must be an object.")
        return cls(
            subject=body[field],
            params={k: v for k, v in body.items() if k != field and k not in _OWN_FIELDS},
            n=n,
            stop=stop_strings(body.get("stop")),
            stream=body.get("stream") is True,
            include_usage=stream_options.get("include_usage") is True,
        )

    def run(self, endpoint: Endpoint, subject: Any) -> Any:
        """Ask the model once.

        The endpoint cuts at `stop` itself, so a function that takes none is not refused.
        """
        params = {**self.params, "stop": list(self.stop)} if self.stop else self.params
        return endpoint.model.run(subject, params, optional=("stop",))


def write(reply: str | Generation, stop: tuple[str, ...]) -> Generation:
    """What a model returned, cut at the first stop string, with its tokens counted."""
    generation = Generation(reply) if isinstance(reply, str) else reply
    ends = [end for end in map(generation.text.find, stop) if end >= 0]
    if ends:
        text = generation.text[: min(ends)]
        return replace(
            generation, text=text, finish_reason="stop", completion_tokens=count_tokens(text)
        )
    if generation.completion_tokens is None:
        return replace(generation, completion_tokens=count_tokens(generation.text))
    return generation


def count_tokens(text: str) -> int:
    """The number of words, which here pass for tokens."""
    return len(text.split())


def pieces(text: str) -> list[str]:
    """The text as a stream sends it: word by word, each with the white space after it."""
    return re.findall(r"\S+\s*|\s+", text)


def head(endpoint: Endpoint, kind: str) -> dict[str, Any]:
    """The fields that open every answer and every event of one answer."""
    return {
        "id": f"{uuid.uuid4()}",
        "object": kind,
        "created": int(time.time()),
        "model": endpoint.name,
    }


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    """Token counts in OpenAI's shape."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def stream(
    endpoint: Endpoint,
    call: LlmCall,
    completion: dict[str, Any],
    choices: Iterable[list[Delta]],
) -> EventStream:
    """A finished completion as a stream, in which the choices advance together.

    A foundation model reports in every event the usage so far (databricks-ai-bridge pull request
    176); an external model reports it once, in a last event without choices, when
    `stream_options.include_usage` asks for it, as OpenAI does.

    Args:
        endpoint: The endpoint that was asked.
        call: The request.
        completion: The whole answer; all but its choices is repeated in each event.
        choices: The steps of each choice.
    """
    steps = [step for turn in zip_longest(*choices) for step in turn if step is not None]
    total = completion.get("usage")
    opening = {k: v for k, v in completion.items() if k not in ("choices", "usage")}
    events: list[dict[str, Any]] = [{**opening, "choices": [step.choice]} for step in steps]
    if not total:
        return EventStream(events)
    if endpoint.external:
        if call.include_usage:
            events.append({**opening, "choices": [], "usage": total})
        return EventStream(events)
    written = 0
    for event, step in zip(events, steps, strict=True):
        written += count_tokens(step.text)
        event["usage"] = usage(total["prompt_tokens"], min(written, total["completion_tokens"]))
    events[-1]["usage"] = total
    return EventStream(events)
