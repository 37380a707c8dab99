"""What an engine is: what the driver server asks of a model.

`Engine` turns a `GenerationRequest` into a `Generation`. What else an engine can do it says by
having more methods: `StreamingEngine`, `BatchEngine`, `ChatEngine`, `Embedder`, `EngineLifecycle`.
The server looks for each and does without.

All methods are called from many threads at once. One that waits looks at ``request.call`` every
`POLL_S` seconds and lets the exception of `RequestContext.check` through, so that a deadline is
kept and a client that left costs nothing.
An engine refuses a request with `RequestError`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
]

FinishReason = Literal["stop", "length", "tool_calls"]

Message = Mapping[str, Any]
"""One message of a conversation, as OpenAI's chat API has it: ``{"role", "content", …}``."""


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One prompt to complete, already checked by the server.

    Attributes:
        prompt: The text to complete; empty where there are `messages`.
        stop: The completion ends before the first of these that appears in it.
        params: Further parameters, each of a name that the engine allows.
        messages: The conversation to continue, which only a `ChatEngine` is given.
        call: The request's deadline, and whether its client is still there.
    """

    prompt: str = ""
    stop: tuple[str, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    messages: tuple[Message, ...] = ()
    call: RequestContext = field(default_factory=RequestContext, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Generation:
    """What the model answered.

    Attributes:
        text: The completion, without the prompt and without the stop string.
        finish_reason: ``"stop"`` at its natural end or a stop string, ``"length"`` when cut off,
            ``"tool_calls"`` when the model asks for a tool.
        prompt_tokens: Tokens of the prompt, where the engine counts them.
        completion_tokens: Tokens of the completion, where the engine counts them.
        tool_calls: The tools that a chat model asks for, as OpenAI's chat API has them.
    """

    text: str
    finish_reason: FinishReason = "stop"
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    tool_calls: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Delta:
    """What a stream adds to a completion; the fields are those of `Generation`.

    A piece without anything in it says that the engine is still at work, as often as it likes: the
    server makes of it what keeps proxies from cutting a silent connection. The last piece has a
    ``finish_reason``.
    """

    text: str = ""
    finish_reason: FinishReason | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    tool_calls: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class EmbeddingResult:
    """The embeddings of some texts.

    Attributes:
        values: One vector a text, all of one dimension.
        prompt_tokens: Tokens of all texts, where the engine counts them.
        truncated: The positions of the texts of which the model saw the beginning only.
    """

    values: Sequence[Sequence[float]]
    prompt_tokens: int | None = None
    truncated: tuple[int, ...] = ()


@runtime_checkable
class Engine(Protocol):
    """A model that completes text."""

    @property
    def parameters(self) -> frozenset[str]:
        """The names that `GenerationRequest.params` may hold: an allow-list."""
        ...

    def generate(self, request: GenerationRequest) -> Generation:
        """Complete one prompt."""
        ...


@runtime_checkable
class StreamingEngine(Protocol):
    """A model that answers piece by piece."""

    def stream(self, request: GenerationRequest) -> Iterator[Delta]:
        """Complete one prompt, and give up when the iterator is closed."""
        ...


@runtime_checkable
class BatchEngine(Protocol):
    """A model that completes many prompts faster together than one by one."""

    def generate_batch(self, requests: Sequence[GenerationRequest]) -> list[Generation]:
        """Complete prompts, in their order."""
        ...


@runtime_checkable
class ChatEngine(Protocol):
    """A model with a conversation format of its own; without it, a transcript is its prompt."""

    @property
    def takes_messages(self) -> bool:
        """Whether `GenerationRequest.messages` may be set."""
        ...


@runtime_checkable
class Embedder(Protocol):
    """A model that turns texts into vectors."""

    def embed(self, texts: Sequence[str], call: RequestContext) -> EmbeddingResult:
        """Embed texts."""
        ...


@runtime_checkable
class EngineLifecycle(Protocol):
    """An engine with something running behind it, such as a thread or another server."""

    def start(self) -> None:
        """Be ready to answer. Does nothing when it is; may follow `close`."""
        ...

    def close(self) -> None:
        """Stop what runs, and wait for its end."""
        ...

    def health(self) -> str | None:
        """Why it cannot answer now, in words for the client; ``None`` when it can."""
        ...
