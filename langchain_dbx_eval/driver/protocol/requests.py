"""What a request asks for, once it is understood: one value for all dialects."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from langchain_dbx_eval.driver.engines.base import GenerationRequest

__all__ = ["Capabilities", "EmbeddingAsk", "Form", "GenerationAsk", "ParsedRequest"]

Form = Literal["text", "chat", "completion", "predictions"]
"""How the answer is written: a JSON string, OpenAI's chat or text completion, MLflow's."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the engine behind the routes takes.

    Attributes:
        parameters: The names of parameters.
        messages: Whether it has a conversation format of its own.
        generates: Whether it completes text.
        embeds: Whether it turns texts into vectors.
    """

    parameters: frozenset[str] = frozenset()
    messages: bool = False
    generates: bool = True
    embeds: bool = False


@dataclass(frozen=True, slots=True)
class GenerationAsk:
    """Prompts to complete.

    Attributes:
        form: How the answer is written.
        requests: At least one; a request for ``n`` answers is here ``n`` times.
        n: Answers per prompt.
        stream: Whether the answer is a stream of events, of the only request.
        usage_in_stream: Whether the stream ends with the count of tokens.
        model: The name to answer with, where the client gave one.
    """

    form: Form
    requests: tuple[GenerationRequest, ...]
    n: int = 1
    stream: bool = False
    usage_in_stream: bool = False
    model: str | None = None


@dataclass(frozen=True, slots=True)
class EmbeddingAsk:
    """Texts to embed.

    Attributes:
        texts: At least one.
        base64: Whether vectors are written as little-endian float32 in base64.
        predictions: Whether the answer is ``{"predictions": [vector, …]}``, as MLflow's is.
        model: The name to answer with, where the client gave one.
    """

    texts: tuple[str, ...] = field(repr=False)
    base64: bool = False
    predictions: bool = False
    model: str | None = None


ParsedRequest = GenerationAsk | EmbeddingAsk
