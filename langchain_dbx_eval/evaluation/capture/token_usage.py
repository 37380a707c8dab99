"""How many tokens a model says that it took."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, LLMResult

__all__ = ["tokens_of"]

_READ = ("input_tokens", "prompt_tokens")
_WRITTEN = ("output_tokens", "completion_tokens")


def tokens_of(response: LLMResult) -> tuple[int | None, int | None]:
    """Find the tokens of one answer of a model.

    Providers tell them in several places at once; the first place that tells any counts, so that
    none is counted twice: the message's `usage_metadata`, LangChain's standard, then
    ``llm_output``, then the metadata of message and generation, where text models that stream put
    it.

    Args:
        response: What LangChain says at a model's end. Where it holds several answers to one
            prompt, each repeats the usage of all.

    Returns:
        Tokens read and tokens written; None for what is not told.
    """
    for usage in _told(response):
        read, written = _count(usage, _READ), _count(usage, _WRITTEN)
        if read is not None or written is not None:
            return read, written
    return None, None


def _told(response: LLMResult) -> Iterator[Any]:
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


def _count(usage: Any, names: tuple[str, ...]) -> int | None:
    if not isinstance(usage, Mapping):
        return None
    return next((usage[name] for name in names if isinstance(usage.get(name), int)), None)
