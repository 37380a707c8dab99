"""The types of codecs, one per LangChain component."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult, Generation, GenerationChunk

from langchain_dbx_eval.wire.stream_reader import EventReader

__all__ = ["ChatCodec", "EmbeddingsCodec", "TextCodec"]


@dataclass(frozen=True, kw_only=True)
class ChatCodec:
    """A wire format of `ChatDatabricks`.

    Attributes:
        encode: Returns the body of a request for messages and parameters.
        decode: Decodes the JSON of a response.
        stream: Creates the reader of a streamed response.
        route: The route of OpenAI's API behind a base URL.
        recognize: Returns the reader of another format if an event has that format.
        has_usage_option: Whether a stream reports its token usage only if requested by
            ``stream_options``.
    """

    encode: Callable[[Sequence[BaseMessage], dict[str, Any]], dict[str, Any]]
    decode: Callable[[Any], ChatResult]
    stream: Callable[[], EventReader[ChatGenerationChunk]]
    route: str = "chat/completions"
    recognize: Callable[[str], EventReader[ChatGenerationChunk] | None] | None = None
    has_usage_option: bool = False


def _one_per_request(requests: Sequence[dict[str, Any]]) -> Iterable[Sequence[dict[str, Any]]]:
    return ([request] for request in requests)


def _whole(payload: Any, _count: int) -> list[Any]:
    return [payload]


@dataclass(frozen=True, kw_only=True)
class TextCodec:
    """A wire format of `Databricks`.

    A request is a dict with a ``prompt`` and parameters; several may share one body.

    Attributes:
        encode: Returns the body for one batch of requests.
        decode: Decodes the response to one prompt.
        stream: Creates the reader of a streamed response; None: the format has no streams.
        route: The route of OpenAI's API behind a base URL.
        batches: Groups requests into batches; default: one request each.
        split: Returns the response to each prompt of a batch, given the JSON and their number.
        shares_params: Whether the requests of a batch share their parameters and one response,
            which no hook can then change, and which an endpoint may reject.
    """

    encode: Callable[[Sequence[dict[str, Any]]], dict[str, Any]]
    decode: Callable[[Any], list[Generation]]
    stream: Callable[[], EventReader[GenerationChunk]] | None = None
    route: str = "completions"
    batches: Callable[[Sequence[dict[str, Any]]], Iterable[Sequence[dict[str, Any]]]] = (
        _one_per_request
    )
    split: Callable[[Any, int], list[Any]] = _whole
    shares_params: bool = False


@dataclass(frozen=True, kw_only=True)
class EmbeddingsCodec:
    """A wire format of `DatabricksEmbeddings`.

    Attributes:
        encode: Returns the body of a request for texts and parameters.
        decode: Decodes the JSON of a response to a number of texts: one vector each.
        route: The route of OpenAI's API behind a base URL.
    """

    encode: Callable[[Sequence[str], dict[str, Any]], dict[str, Any]]
    decode: Callable[[Any, int], list[list[float]]]
    route: str = "embeddings"
