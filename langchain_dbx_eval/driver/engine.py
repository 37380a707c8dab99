"""What an engine is: the one thing the driver server asks of a model.

An engine turns a `GenerationRequest` into a `Generation`. What else it can do (stream, chat,
embed) it says by implementing more methods; nothing here asks for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

__all__ = ["Engine", "FinishReason", "Generation", "GenerationRequest"]

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One prompt to complete, already checked by the server.

    Attributes:
        prompt: The text to complete.
        stop: The completion ends before the first of these that appears in it.
        params: Further parameters, each of a name that the engine allows.
    """

    prompt: str
    stop: tuple[str, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Generation:
    """What the model answered.

    Attributes:
        text: The completion, without the prompt and without the stop string.
        finish_reason: ``"stop"`` at its natural end or a stop string, ``"length"`` when cut off.
        prompt_tokens: Tokens of the prompt, where the engine counts them.
        completion_tokens: Tokens of the completion, where the engine counts them.
    """

    text: str
    finish_reason: FinishReason = "stop"
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


@runtime_checkable
class Engine(Protocol):
    """A model behind the driver server."""

    @property
    def parameters(self) -> frozenset[str]:
        """The names that `GenerationRequest.params` may hold: an allow-list."""
        ...

    def generate(self, request: GenerationRequest) -> Generation:
        """Complete one prompt."""
        ...
