"""Requests, answers and streams that chat and completions endpoints share."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

from langchain_dbx_eval.driver.engines.base import Generation
from langchain_dbx_eval.testing.errors import invalid_parameter, unknown_field
from langchain_dbx_eval.testing.serving.backends import parse_stop
from langchain_dbx_eval.testing.serving.endpoints import Endpoint, EventStream
from langchain_dbx_eval.testing.serving.text import count_tokens, usage

__all__ = [
    "ChoiceDelta",
    "CompletionRequest",
    "answer_header",
    "require_input",
    "stream_completion",
    "truncate_at_stop",
    "validate_messages",
]

# Other fields are refused (databricks-sdk-py issue 1263). Sources: Databricks, "Foundation model
# REST API reference" and "Query reasoning models"; OpenAI's API reference, for external models.
_CHAT_FIELDS = frozenset(
    {
        "audio",
        "client_request_id",
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "metadata",
        "modalities",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "prompt_cache_key",
        "reasoning_effort",
        "response_format",
        "safety_identifier",
        "seed",
        "service_tier",
        "stop",
        "store",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_k",
        "top_logprobs",
        "top_p",
        "usage_context",
        "user",
        "verbosity",
        "web_search_options",
    }
)
_COMPLETION_FIELDS = frozenset(
    {
        "best_of",
        "client_request_id",
        "echo",
        "error_behavior",
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "max_tokens",
        "presence_penalty",
        "seed",
        "stop",
        "suffix",
        "temperature",
        "top_k",
        "top_p",
        "usage_context",
        "use_raw_prompt",
        "user",
    }
)
_KNOWN_FIELDS = {"messages": _CHAT_FIELDS, "prompt": _COMPLETION_FIELDS}
_RESERVED_FIELDS = ("model", "n", "stop", "stream", "stream_options")
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
class ChoiceDelta:
    """One event of a choice's stream.

    Attributes:
        choice: The entry of `choices`.
        text: The text that it adds.
    """

    choice: dict[str, Any]
    text: str = ""


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """A validated request to a chat or completions endpoint.

    Attributes:
        inputs: The messages or prompts.
        params: The parameters for the model.
        known: The parameters that such an endpoint knows.
        n: The number of choices.
        stop: The stop strings, which end an answer.
        stream: Whether the answer is an event stream.
        include_usage: Whether `stream_options` requests usage.
        ignorable: Names in `params` that are dropped if the model does not accept them.
    """

    inputs: Any
    params: dict[str, Any]
    known: frozenset[str]
    n: int
    stop: tuple[str, ...]
    stream: bool
    include_usage: bool
    ignorable: frozenset[str] = frozenset()

    @classmethod
    def parse(
        cls,
        endpoint: Endpoint,
        body: dict[str, Any],
        field: str,
        ignorable: frozenset[str] = frozenset(),
    ) -> CompletionRequest:
        """Parse a request body.

        Args:
            endpoint: The endpoint that received it.
            body: The JSON object.
            field: The name of the field with the messages or prompts.
            ignorable: Names of fields that are dropped if the model does not accept them.

        Raises:
            ApiError: That field is missing, or another one has a value that is not allowed.
        """
        require_input(body, field)
        # langchain pull request 14100: external models reject null.
        if endpoint.external and body.get("stop", ()) is None:
            raise invalid_parameter("'stop' must not be null.")
        n = body.get("n", 1)
        if not isinstance(n, int) or n < 1:
            raise invalid_parameter("'n' must be a positive integer.")
        stream_options = body.get("stream_options") or {}
        if not isinstance(stream_options, dict):
            raise invalid_parameter("'stream_options' must be an object.")
        return cls(
            inputs=body[field],
            params={k: v for k, v in body.items() if k != field and k not in _RESERVED_FIELDS},
            known=_KNOWN_FIELDS[field],
            n=n,
            stop=parse_stop(body.get("stop")),
            stream=body.get("stream") is True,
            include_usage=stream_options.get("include_usage") is True,
            ignorable=ignorable,
        )

    def invoke(self, endpoint: Endpoint, inputs: Any) -> Any:
        """Invoke the endpoint's backend once.

        `stop` is ignorable, because the endpoint truncates the text itself.
        """
        params = {**self.params, "stop": list(self.stop)} if self.stop else self.params
        ignorable = {"stop", *self.ignorable}
        known = self.known | ignorable
        return endpoint.backend.invoke(inputs, params, known=known, ignorable=ignorable)


def require_input(body: dict[str, Any], field: str) -> None:
    """Raise unless the body has the input field of the endpoint.

    Raises:
        ApiError: It is missing; the message names the input field of another protocol, if present.
    """
    if field not in body:
        for other in _INPUT_FIELDS:
            if other in body:
                raise unknown_field(other)
        raise invalid_parameter(f"Missing required parameter: '{field}'")


def validate_messages(messages: Any) -> None:
    """Raise unless `messages` is a list of at least one message with a role.

    Raises:
        ApiError: It is not.
    """
    if not isinstance(messages, list) or not messages:
        raise invalid_parameter("'messages' must be a list of at least one message.")
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise invalid_parameter("Each of the 'messages' must be an object with a role.")


def truncate_at_stop(reply: str | Generation, stop: tuple[str, ...]) -> Generation:
    """Truncate generated text at the first stop string, and count its tokens."""
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


def answer_header(endpoint: Endpoint, object_type: str) -> dict[str, Any]:
    """Return the fields that an answer and all its events share."""
    return {
        "id": f"{uuid.uuid4()}",
        "object": object_type,
        "created": int(time.time()),
        "model": endpoint.name,
    }


def stream_completion(
    endpoint: Endpoint,
    request: CompletionRequest,
    completion: dict[str, Any],
    choices: Iterable[list[ChoiceDelta]],
) -> EventStream:
    """Return a completion as an event stream in which the choices advance together.

    Each event of a foundation model contains the usage so far (databricks-ai-bridge pull request
    176). An external model sends usage once, in a last event without choices, if
    `stream_options.include_usage` is set, as OpenAI does.

    Args:
        endpoint: The endpoint.
        request: The request.
        completion: The complete answer; each event repeats its fields except `choices`.
        choices: The events of each choice.
    """
    deltas = [delta for turn in zip_longest(*choices) for delta in turn if delta is not None]
    total = completion.get("usage")
    header = {k: v for k, v in completion.items() if k not in ("choices", "usage")}
    events: list[dict[str, Any]] = [{**header, "choices": [delta.choice]} for delta in deltas]
    if not total:
        return EventStream(events)
    if endpoint.external:
        if request.include_usage:
            events.append({**header, "choices": [], "usage": total})
        return EventStream(events)
    tokens = 0
    for event, delta in zip(events, deltas, strict=True):
        tokens += count_tokens(delta.text)
        event["usage"] = usage(total["prompt_tokens"], min(tokens, total["completion_tokens"]))
    events[-1]["usage"] = total
    return EventStream(events)
