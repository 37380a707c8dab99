"""Completions endpoints, in OpenAI's format."""

from __future__ import annotations

from typing import Any

from langchain_dbx_eval.driver.engines.base import Generation
from langchain_dbx_eval.testing.errors import invalid_parameter
from langchain_dbx_eval.testing.serving.endpoints import Endpoint, EventStream
from langchain_dbx_eval.testing.serving.openai import (
    ChoiceDelta,
    CompletionRequest,
    answer_header,
    stream_completion,
    truncate_at_stop,
)
from langchain_dbx_eval.testing.serving.text import count_tokens, split_words, usage

__all__ = ["answer"]


def answer(endpoint: Endpoint, body: dict[str, Any]) -> dict[str, Any] | EventStream:
    """Return `n` completions per prompt, in the order of the prompts.

    Raises:
        ApiError: The request is invalid.
        TypeError: The backend returned something other than a string.
    """
    request = CompletionRequest.parse(endpoint, body, "prompt")
    prompts = [request.inputs] if isinstance(request.inputs, str) else request.inputs
    if not isinstance(prompts, list) or not all(isinstance(one, str) for one in prompts):
        raise invalid_parameter("'prompt' must be a string or a list of strings.")
    groups = [[_complete(endpoint, request, p) for _ in range(request.n)] for p in prompts]
    choices = [
        {"index": index, "text": generation.text, "finish_reason": generation.finish_reason}
        for index, generation in enumerate(generation for group in groups for generation in group)
    ]
    completion = {
        **answer_header(endpoint, "text_completion"),
        "choices": choices,
        "usage": _usage(prompts, groups),
    }
    if request.stream:
        return stream_completion(endpoint, request, completion, map(_deltas, choices))
    return completion


def _complete(endpoint: Endpoint, request: CompletionRequest, prompt: str) -> Generation:
    reply = request.invoke(endpoint, prompt)
    if not isinstance(reply, str | Generation):
        msg = f"A completions endpoint requires a string, but its function returned {type(reply)}."
        raise TypeError(msg)
    return truncate_at_stop(reply, request.stop)


def _usage(prompts: list[str], groups: list[list[Generation]]) -> dict[str, int]:
    counted = [group[0].prompt_tokens for group in groups]
    prompt_tokens = sum(
        count_tokens(prompt) if tokens is None else tokens
        for prompt, tokens in zip(prompts, counted, strict=True)
    )
    return usage(prompt_tokens, sum(one.completion_tokens or 0 for g in groups for one in g))


def _deltas(choice: dict[str, Any]) -> list[ChoiceDelta]:
    def delta(text: str, finish_reason: str | None = None) -> ChoiceDelta:
        return ChoiceDelta({**choice, "text": text, "finish_reason": finish_reason}, text)

    return [*map(delta, split_words(choice["text"])), delta("", choice["finish_reason"])]
