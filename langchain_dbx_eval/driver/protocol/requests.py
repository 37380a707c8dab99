"""The common result of parsing, for all request formats."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from langchain_dbx_eval.driver.engines.base import GenerationRequest

__all__ = ["Capabilities", "ParsedEmbedding", "ParsedGeneration", "ParsedRequest", "ResponseFormat"]

ResponseFormat = Literal["text", "chat", "completion", "predictions"]
"""A JSON string, OpenAI's chat completion, OpenAI's completion, or MLflow's predictions."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine supports.

    Attributes:
        parameters: The allowed names of generation parameters.
        messages: Whether it has its own chat format.
        generates: Whether it completes text.
        embeds: Whether it computes embeddings.
    """

    parameters: frozenset[str] = frozenset()
    messages: bool = False
    generates: bool = True
    embeds: bool = False


@dataclass(frozen=True, slots=True)
class ParsedGeneration:
    """Prompts to complete.

    Attributes:
        response_format: The format of the response.
        requests: At least one; a request with ``n`` choices is contained ``n`` times.
        n: Choices per prompt.
        stream: Whether the response to the only request is streamed.
        usage_in_stream: Whether the stream ends with the token counts.
        model: The model name to return; None: the engine's.
    """

    response_format: ResponseFormat
    requests: tuple[GenerationRequest, ...]
    n: int = 1
    stream: bool = False
    usage_in_stream: bool = False
    model: str | None = None


@dataclass(frozen=True, slots=True)
class ParsedEmbedding:
    """Texts to embed.

    Attributes:
        texts: At least one.
        base64: Whether vectors are encoded as little-endian float32 in base64.
        predictions: Whether the response is MLflow's ``{"predictions": [vector, …]}``.
        model: The model name to return; None: the engine's.
    """

    texts: tuple[str, ...] = field(repr=False)
    base64: bool = False
    predictions: bool = False
    model: str | None = None


ParsedRequest = ParsedGeneration | ParsedEmbedding
