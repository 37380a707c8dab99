"""The interface between the driver server and a model.

`Engine` turns a `GenerationRequest` into a `Generation`. The other protocols are optional
capabilities, detected by their methods: `StreamingEngine`, `BatchEngine`, `ChatEngine`,
`Embedder`, `EngineLifecycle`.

All methods are called from many threads concurrently. A method that waits calls
``request.context.check()`` every `POLL_S` seconds and does not catch its exception, so that
deadlines are kept and a disconnected client frees its slot. An engine rejects a request with
`RequestError`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from langchain_dbx_eval.driver.runtime.request_context import RequestContext

__all__ = [
    "BatchEngine",
    "ChatEngine",
    "Delta",
    "Embedder",
    "EmbeddingResult",
    "Engine",
    "EngineLifecycle",
    "FinishReason",
    "Generation",
    "GenerationRequest",
    "Message",
    "StreamingEngine",
    "collect",
]

FinishReason = Literal["stop", "length", "tool_calls"]

Message = Mapping[str, Any]
"""A chat message as in OpenAI's API: ``{"role", "content", …}``."""


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One prompt to complete, validated by the server.

    Attributes:
        prompt: The text to complete; empty if there are `messages`.
        stop: The completion ends before the first of these strings that appears in it.
        params: Generation parameters; only names that the engine lists in ``parameters``.
        messages: The conversation to continue; set for a `ChatEngine` only.
        context: The deadline of the request and the state of its client.
    """

    prompt: str = ""
    stop: tuple[str, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    messages: tuple[Message, ...] = ()
    context: RequestContext = field(default_factory=RequestContext, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Generation:
    """The completion of one prompt.

    Attributes:
        text: The completion, without the prompt and without the stop string.
        finish_reason: ``"stop"`` at its natural end or at a stop string, ``"length"`` at the
            maximum length, ``"tool_calls"`` if the model calls a tool.
        prompt_tokens: Tokens of the prompt; None if the engine does not count them.
        completion_tokens: Tokens of the completion; None if the engine does not count them.
        tool_calls: The tool calls of a chat model, as in OpenAI's chat API.
        logprobs: The log probabilities of the tokens, as in OpenAI's API that was called.
    """

    text: str
    finish_reason: FinishReason = "stop"
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    logprobs: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Delta:
    """The next part of a streamed completion; the fields are those of `Generation`.

    An empty delta signals that the engine is still working and may be yielded at any rate: the
    server sends it as a keep-alive, without which proxies close the connection. The last delta
    has a ``finish_reason``.
    """

    text: str = ""
    finish_reason: FinishReason | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    logprobs: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class EmbeddingResult:
    """The embeddings of a list of texts.

    Attributes:
        values: One vector per text, shape ``[texts, dimensions]``.
        prompt_tokens: Tokens of all texts; None if the engine does not count them.
        truncated: Indices of the texts that were truncated to the model's maximum length.
    """

    values: Sequence[Sequence[float]]
    prompt_tokens: int | None = None
    truncated: tuple[int, ...] = ()


@runtime_checkable
class Engine(Protocol):
    """A model that completes text."""

    @property
    def parameters(self) -> frozenset[str]:
        """The allowed names in `GenerationRequest.params`."""

    def generate(self, request: GenerationRequest) -> Generation:
        """Complete one prompt."""


@runtime_checkable
class StreamingEngine(Protocol):
    """A model that streams its completion."""

    def stream(self, request: GenerationRequest) -> Iterator[Delta]:
        """Complete one prompt, and stop generating when the iterator is closed."""


@runtime_checkable
class BatchEngine(Protocol):
    """A model that completes a batch of prompts faster than one prompt after the other."""

    def generate_batch(self, requests: Sequence[GenerationRequest]) -> list[Generation]:
        """Complete prompts, and return the completions in the order of the prompts."""


@runtime_checkable
class ChatEngine(Protocol):
    """A model with its own chat format; other models receive a transcript as the prompt."""

    @property
    def takes_messages(self) -> bool:
        """Whether `GenerationRequest.messages` may be set."""


@runtime_checkable
class Embedder(Protocol):
    """A model that computes embeddings.

    If it has the attribute ``takes_dimensions = True``, `embed` also receives ``dimensions=``, the
    number of dimensions, for requests that set it.
    """

    def embed(self, texts: Sequence[str], context: RequestContext) -> EmbeddingResult:
        """Compute one vector per text."""


@runtime_checkable
class EngineLifecycle(Protocol):
    """An engine with something to start and stop, such as a thread."""

    def start(self) -> None:
        """Prepare for requests. Has no effect if started; may follow `close`."""

    def close(self) -> None:
        """Stop all threads, and wait for their end."""

    def health(self) -> str | None:
        """Return why the engine cannot answer, worded for the client; None if it can."""


def collect(deltas: Iterable[Delta]) -> Generation:
    """Join the deltas of a streamed completion."""
    texts: list[str] = []
    tool_calls: dict[int, dict[str, Any]] = {}
    logprobs: dict[str, Any] = {}
    last = Delta()
    for last in deltas:
        texts.append(last.text)
        _merge_logprobs(logprobs, last.logprobs)
        _merge_tool_calls(tool_calls, last.tool_calls)
    return Generation(
        "".join(texts),
        last.finish_reason or "stop",
        last.prompt_tokens,
        last.completion_tokens,
        tuple(tool_calls[index] for index in sorted(tool_calls)),
        logprobs or None,
    )


def _merge_logprobs(merged: dict[str, Any], part: Mapping[str, Any] | None) -> None:
    """Add those of one delta: each value is a list with one item per token, or null."""
    for name, values in (part or {}).items():
        merged[name] = [*(merged.get(name) or ()), *values] if values else merged.get(name)


def _merge_tool_calls(calls: dict[int, dict[str, Any]], parts: Sequence[Mapping[str, Any]]) -> None:
    """Add the parts of one delta: names and ids arrive once, arguments in parts."""
    for position, part in enumerate(parts):
        call = calls.setdefault(
            part.get("index", position),
            {"id": "", "type": "function", "function": {"name": "", "arguments": ""}},
        )
        call["id"] = part.get("id") or call["id"]
        function = part.get("function") or {}
        call["function"]["name"] += function.get("name") or ""
        call["function"]["arguments"] += function.get("arguments") or ""
