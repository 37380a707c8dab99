"""From a decoded body to what it asks for, or to the refusal that the client is told.

Pure functions over JSON values: no sockets, no web framework. Sources: the LangChain
documentation's schema for driver proxy apps; OpenAI's API reference (chat completions,
completions, embeddings).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from langchain_dbx_eval.driver.engines.base import GenerationRequest
from langchain_dbx_eval.driver.engines.messages import checked_messages, transcript
from langchain_dbx_eval.driver.engines.parameters import checked_parameters, json_type
from langchain_dbx_eval.driver.errors import RequestError, invalid, malformed
from langchain_dbx_eval.driver.protocol.requests import (
    Capabilities,
    EmbeddingAsk,
    Form,
    GenerationAsk,
    ParsedRequest,
)

__all__ = [
    "MAX_ANSWERS",
    "MAX_INPUTS",
    "MAX_STOPS",
    "MAX_STOP_LENGTH",
    "as_object",
    "parse",
    "parse_any",
    "parse_chat",
    "parse_completion",
    "parse_embeddings",
    "parse_prompt",
]

MAX_STOPS = 16
"""Each stop is searched for in each completion, so their number is bounded."""

MAX_STOP_LENGTH = 1_000
"""Characters of one stop; a stream holds back as many."""

MAX_ANSWERS = 64
"""Prompts times answers for each (``n``) in one request."""

MAX_INPUTS = 2_048
"""Texts to embed in one request; OpenAI's own limit."""

# What OpenAI's clients may say of things that are not served here, when it asks for nothing.
_WITHOUT_EFFECT: Mapping[str, tuple[Any, ...]] = {
    "best_of": (1,),
    "echo": (False,),
    "logit_bias": ({},),
    "logprobs": (False, 0),
    "parallel_tool_calls": (True, False),
    "response_format": ({"type": "text"},),
    "service_tier": ("auto", "default"),
    "suffix": ("",),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
}
_ABOUT_THE_CALLER = frozenset({"metadata", "safety_identifier", "store", "user"})


def parse(payload: object, allowed: frozenset[str]) -> GenerationRequest:
    """Check a body against the documented contract, ``{"prompt": str, "stop"?: [str], **params}``.

    Args:
        payload: The decoded JSON.
        allowed: Names of the parameters that the engine takes beside ``prompt`` and ``stop``.

    Returns:
        The request, which holds nothing but what was allowed.

    Raises:
        RequestError: 400; the message names the field, and for an unknown one those allowed.
    """
    body = dict(as_object(payload))
    if "prompt" not in body:
        raise invalid("'prompt' is missing: send the text to complete.")
    prompt = body.pop("prompt")
    if not isinstance(prompt, str):
        raise invalid(f"'prompt' must be a string, not {json_type(prompt)}.")
    stop = _stops(body.pop("stop", None))
    return GenerationRequest(prompt, stop, checked_parameters(body, allowed, ("prompt", "stop")))


def parse_any(payload: object, takes: Capabilities) -> ParsedRequest:
    """Understand a body by its keys, as the documented root path does.

    ``{"messages"}`` asks for chat and ``{"input"}`` for embeddings, so that a chat model and
    embeddings of LangChain reach an app by its port alone; anything else is the documented
    contract, which `parse` checks.

    Raises:
        RequestError: 400, or 404 for what this engine does not do.
    """
    body = as_object(payload)
    if "messages" in body and "prompt" not in body:
        return parse_chat(body, takes)
    if "input" in body and "prompt" not in body:
        return parse_embeddings(body, takes)
    return parse_prompt(body, takes)


def parse_prompt(payload: object, takes: Capabilities) -> GenerationAsk:
    """Understand the documented contract; see `parse`.

    Raises:
        RequestError: 400, or 404 where the engine does not generate.
    """
    _refuse_unless(takes.generates, "text generation")
    return GenerationAsk("text", (parse(payload, takes.parameters),))


def parse_chat(payload: object, takes: Capabilities) -> GenerationAsk:
    """Understand a chat completion.

    Raises:
        RequestError: 400, or 404 where the engine does not generate.
    """
    _refuse_unless(takes.generates, "text generation")
    body = dict(as_object(payload))
    if "messages" not in body:
        raise invalid("'messages' is missing: send the conversation so far.")
    messages = checked_messages(body.pop("messages"))
    if takes.messages:
        request = GenerationRequest(messages=messages)
    else:
        request = GenerationRequest(transcript(messages))
    return _openai_ask("chat", body, [request], takes.parameters)


def parse_completion(payload: object, takes: Capabilities) -> GenerationAsk:
    """Understand a text completion.

    Raises:
        RequestError: 400, or 404 where the engine does not generate.
    """
    _refuse_unless(takes.generates, "text generation")
    body = dict(as_object(payload))
    if "prompt" not in body:
        raise invalid("'prompt' is missing: send the text to complete.")
    prompts = _texts(body.pop("prompt"), "prompt", MAX_ANSWERS)
    requests = [GenerationRequest(prompt) for prompt in prompts]
    return _openai_ask("completion", body, requests, takes.parameters)


def parse_embeddings(payload: object, takes: Capabilities) -> EmbeddingAsk:
    """Understand an embeddings request.

    Raises:
        RequestError: 400, or 404 where the engine does not embed.
    """
    _refuse_unless(takes.embeds, "embeddings")
    body = dict(as_object(payload))
    if "input" not in body:
        raise invalid("'input' is missing: send the texts to embed.")
    texts = _texts(body.pop("input"), "input", MAX_INPUTS)
    model = _model(body.pop("model", None))
    encoding = body.pop("encoding_format", None) or "float"
    if encoding not in ("float", "base64"):
        raise invalid("'encoding_format' must be 'float' or 'base64'.")
    _drop_without_effect(body)
    checked_parameters(body, frozenset(), ("input", "model", "encoding_format"))
    return EmbeddingAsk(texts, encoding == "base64", model=model)


def as_object(payload: object) -> Mapping[str, Any]:
    """Take a body for a JSON object.

    Raises:
        RequestError: 400, when it is something else.
    """
    if not isinstance(payload, dict):
        raise malformed('The body must be a JSON object such as {"prompt": "Hello"}.')
    return payload


def _openai_ask(
    form: Form, body: dict[str, Any], requests: Sequence[GenerationRequest], allowed: frozenset[str]
) -> GenerationAsk:
    model = _model(body.pop("model", None))
    stop = body.pop("stop", None)
    stops = _stops([stop] if isinstance(stop, str) else stop)
    n = body.pop("n", None)
    n = 1 if n is None else n
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n * len(requests) <= MAX_ANSWERS:
        raise invalid(f"'n' must be a whole number from 1 to {MAX_ANSWERS // len(requests)}.")
    stream = _flag(body.pop("stream", None), "stream")
    usage = _usage_wanted(body.pop("stream_options", None))
    if stream and n * len(requests) > 1:
        raise invalid("'stream' takes one prompt and one answer: leave 'n' out.")
    _drop_without_effect(body, keep=allowed)
    fields = ("messages" if form == "chat" else "prompt", "model", "n", "stop", "stream")
    params = checked_parameters(body, allowed, fields)
    several = tuple(
        replace(request, stop=stops, params=_seeded(params, number))
        for request in requests
        for number in range(n)
    )
    return GenerationAsk(form, several, n, stream, usage, model)


def _seeded(params: dict[str, Any], number: int) -> dict[str, Any]:
    """The parameters of the n-th answer: with one seed for all, all would be the same."""
    if "seed" not in params or number == 0:
        return params
    return {**params, "seed": (params["seed"] + number) % 2**63}


def _refuse_unless(possible: bool, what: str) -> None:
    if not possible:
        message = f"The engine of this server does no {what}."
        raise RequestError(404, "ENDPOINT_NOT_FOUND", message)


def _stops(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        raise invalid("'stop' must be a list of strings: send it as [\"...\"].")
    if not isinstance(value, list) or not all(isinstance(stop, str) for stop in value):
        raise invalid("'stop' must be a list of strings, or null.")
    if not all(value):
        raise invalid("'stop' holds an empty string, which would end every completion at once.")
    if len(value) > MAX_STOPS:
        raise invalid(f"'stop' holds {len(value)} strings; at most {MAX_STOPS} are taken.")
    if any(len(stop) > MAX_STOP_LENGTH for stop in value):
        raise invalid(f"'stop' holds a string of more than {MAX_STOP_LENGTH} characters.")
    return tuple(value)


def _texts(value: object, name: str, limit: int) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise invalid(f"{name!r} must be a string or a list of strings; token ids are not taken.")
    if not 1 <= len(texts) <= limit:
        raise invalid(f"{name!r} must hold from 1 to {limit} strings, not {len(texts)}.")
    return tuple(texts)


def _model(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise invalid(f"'model' must be a string, not {json_type(value)}.")
    # It comes back in the answer, which is to stay small.
    return value[:200] if value else None


def _flag(value: object, name: str) -> bool:
    if value is not None and not isinstance(value, bool):
        raise invalid(f"{name!r} must be true or false, not {json_type(value)}.")
    return bool(value)


def _usage_wanted(value: object) -> bool:
    if value is None:
        return False
    if not isinstance(value, dict):
        raise invalid(f"'stream_options' must be an object, not {json_type(value)}.")
    return _flag(value.get("include_usage"), "stream_options.include_usage")


def _drop_without_effect(body: dict[str, Any], keep: frozenset[str] = frozenset()) -> None:
    for name in (_ABOUT_THE_CALLER | _WITHOUT_EFFECT.keys()) - keep:
        value = body.get(name)
        if value is None or name in _ABOUT_THE_CALLER or value in _WITHOUT_EFFECT[name]:
            body.pop(name, None)
