"""The common result of parsing, for all request formats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from langchain_dbx_eval.driver.engines.base import GenerationRequest

__all__ = ["Capabilities", "ParsedEmbedding", "ParsedGeneration", "ParsedRequest", "ResponseFormat"]

ResponseFormat = Literal["text", "chat", "completion", "responses", "predictions"]
"""A JSON string, OpenAI's chat completion, completion or response, or MLflow's predictions."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine supports.

    Attributes:
        parameters: The allowed names of generation parameters.
        messages: Whether it has its own chat format.
        generates: Whether it completes text.
        embeds: Whether it computes embeddings.
        dimensions: Whether its embeddings can have fewer dimensions.
        strict: Whether a parameter that it does not allow is rejected even with a value that has
            no effect.
    """

    parameters: frozenset[str] = frozenset()
    messages: bool = False
    generates: bool = True
    embeds: bool = False
    dimensions: bool = False
    strict: bool = False


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
        echo: Fields of the request that a response of the Responses API repeats.
    """

    response_format: ResponseFormat
    requests: tuple[GenerationRequest, ...]
    n: int = 1
    stream: bool = False
    usage_in_stream: bool = False
    model: str | None = None
    echo: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class ParsedEmbedding:
    """Texts to embed.

    Attributes:
        texts: At least one.
        base64: Whether vectors are encoded as little-endian float32 in base64.
        predictions: Whether the response is MLflow's ``{"predictions": [vector, …]}``.
        model: The model name to return; None: the engine's.
        dimensions: The number of dimensions of a vector; None: the model's.
    """

    texts: tuple[str, ...] = field(repr=False)
    base64: bool = False
    predictions: bool = False
    model: str | None = None
    dimensions: int | None = None


ParsedRequest = ParsedGeneration | ParsedEmbedding
