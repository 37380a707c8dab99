"""What a completions endpoint answers, in OpenAI's shape."""

from __future__ import annotations

from typing import Any

from langchain_dbx_eval.driver.engines.base import Generation
from langchain_dbx_eval.testing.errors import invalid_parameter
from langchain_dbx_eval.testing.serving.endpoints import Endpoint
from langchain_dbx_eval.testing.serving.llm import (
    Delta,
    EventStream,
    LlmCall,
    count_tokens,
    head,
    pieces,
    stream,
    usage,
    write,
)

__all__ = ["answer"]


def answer(endpoint: Endpoint, body: dict[str, Any]) -> dict[str, Any] | EventStream:
    """`n` completions for each prompt, those of the first prompt first.

    Raises:
        Refusal: `prompt` is missing, or is neither a text nor a list of texts.
        TypeError: The function returned no text.
    """
    call = LlmCall.parse(endpoint, body, "prompt")
    prompts = [call.subject] if isinstance(call.subject, str) else call.subject
    if not isinstance(prompts, list) or not all(isinstance(one, str) for one in prompts):
        raise invalid_parameter("'prompt' must be a string or a list of strings.")
    answers = [[_complete(endpoint, call, prompt) for _ in range(call.n)] for prompt in prompts]
    choices = [
        {"index": index, "text": generation.text, "finish_reason": generation.finish_reason}
        for index, generation in enumerate(generation for group in answers for generation in group)
    ]
    completion = {
        **head(endpoint, "text_completion"),
        "choices": choices,
        "usage": _usage(prompts, answers),
    }
    if call.stream:
        return stream(endpoint, call, completion, map(_deltas, choices))
    return completion


def _complete(endpoint: Endpoint, call: LlmCall, prompt: str) -> Generation:
    reply = call.run(endpoint, prompt)
    if not isinstance(reply, str | Generation):
        msg = f"A completions endpoint needs a text, but its function returned {type(reply)}."
        raise TypeError(msg)
    return write(reply, call.stop)


def _usage(prompts: list[str], answers: list[list[Generation]]) -> dict[str, int]:
    counted = [group[0].prompt_tokens for group in answers]
    asked = sum(
        count_tokens(prompt) if tokens is None else tokens
        for prompt, tokens in zip(prompts, counted, strict=True)
    )
    return usage(asked, sum(one.completion_tokens or 0 for group in answers for one in group))


def _deltas(choice: dict[str, Any]) -> list[Delta]:
    def step(text: str, finish_reason: str | None = None) -> Delta:
        return Delta({**choice, "text": text, "finish_reason": finish_reason}, text)

    return [*map(step, pieces(choice["text"])), step("", choice["finish_reason"])]
