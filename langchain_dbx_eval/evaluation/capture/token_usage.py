"""The token counts in a model's result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, LLMResult

__all__ = ["token_usage"]

_INPUT_KEYS = ("input_tokens", "prompt_tokens")
_OUTPUT_KEYS = ("output_tokens", "completion_tokens")


def token_usage(response: LLMResult) -> tuple[int | None, int | None]:
    """Return the token counts of one model call.

    Providers report usage in several fields at once; only the first field that contains any is
    read, so that nothing is counted twice. The order is the message's `usage_metadata`
    (LangChain's standard), ``llm_output``, then the metadata of message and generation, which
    streaming text models use.

    Args:
        response: The result that LangChain passes to ``on_llm_end``. If it contains several
            answers to one prompt, each repeats the usage of the whole call.

    Returns:
        The numbers of input and output tokens; None for a number that is not reported.
    """
    for usage in _usage_fields(response):
        read, written = _count(usage, _INPUT_KEYS), _count(usage, _OUTPUT_KEYS)
        if read is not None or written is not None:
            return read, written
    return None, None


def _usage_fields(response: LLMResult) -> Iterator[Any]:
    generations = [generation for prompt in response.generations for generation in prompt]
    messages = [g.message for g in generations if isinstance(g, ChatGeneration)]
    for message in messages:
        if isinstance(message, AIMessage):
            yield message.usage_metadata
    yield from _usage_in(response.llm_output)
    for message in messages:
        yield from _usage_in(message.response_metadata)
    for generation in generations:
        yield from _usage_in(generation.generation_info)


def _usage_in(metadata: Any) -> Iterator[Any]:
    if isinstance(metadata, Mapping):
        yield metadata.get("token_usage")
        yield metadata.get("usage")


def _count(usage: Any, keys: tuple[str, ...]) -> int | None:
    if not isinstance(usage, Mapping):
        return None
    return next((usage[key] for key in keys if isinstance(usage.get(key), int)), None)
