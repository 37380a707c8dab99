"""The request format of each route, for one engine."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Protocol

from pydantic import BaseModel

from langchain_dbx_eval.driver.errors import RequestError
from langchain_dbx_eval.driver.protocol.mlflow import DataframeFormat
from langchain_dbx_eval.driver.protocol.openai import (
    ChatCompletionFormat,
    CompletionFormat,
    EmbeddingFormat,
)
from langchain_dbx_eval.driver.protocol.prompt import PromptFormat
from langchain_dbx_eval.driver.protocol.requests import Capabilities, ParsedRequest
from langchain_dbx_eval.driver.protocol.responses_api import ResponsesFormat

__all__ = ["RequestFormat", "request_formats"]


class RequestFormat(Protocol):
    """One way to write a request body, or a choice among several."""

    @property
    def models(self) -> tuple[type[BaseModel], ...]:
        """The models of which a body matches exactly one; none if the engine supports none."""

    def parse(self, body: Mapping[str, Any]) -> ParsedRequest:
        """Parse a body.

        Raises:
            RequestError: 400, or 404 if the engine does not support the format.
        """


@lru_cache(maxsize=64)
def request_formats(capabilities: Capabilities) -> Mapping[str, RequestFormat]:
    """Return the format of the body of each POST route.

    Cached: building the models takes about 40 ms.

    Args:
        capabilities: What the engine supports.
    """
    prompt = PromptFormat(capabilities) if capabilities.generates else None
    no_text, no_vectors = _Unsupported("text generation"), _Unsupported("embeddings")
    completion: RequestFormat = CompletionFormat(capabilities) if prompt else no_text
    chat: RequestFormat = ChatCompletionFormat(capabilities) if prompt else no_text
    embeddings: RequestFormat = EmbeddingFormat(capabilities) if capabilities.embeds else no_vectors
    invocations = _Choice(
        {"messages": chat, "prompt": completion, "input": embeddings},
        DataframeFormat(capabilities, prompt),
    )
    return {
        "/": _Choice({"messages": chat, "input": embeddings}, prompt or no_text),
        "/invocations": invocations,
        "/endpoints/{endpoint}/invocations": invocations,
        "/v1/chat/completions": chat,
        "/v1/completions": completion,
        "/v1/embeddings": embeddings,
        "/v1/responses": ResponsesFormat(capabilities) if prompt else no_text,
    }


class _Choice:
    """The first format whose characteristic field the body has.

    With it a chat model and embeddings of LangChain call a driver-proxy app at its root path.
    """

    def __init__(self, formats: Mapping[str, RequestFormat], default: RequestFormat) -> None:
        self._formats = formats
        self._default = default
        models = [model for each in (*formats.values(), default) for model in each.models]
        self.models = tuple(dict.fromkeys(models))

    def parse(self, body: Mapping[str, Any]) -> ParsedRequest:
        chosen = next((each for name, each in self._formats.items() if name in body), self._default)
        return chosen.parse(body)


class _Unsupported:
    """A format that the engine does not support."""

    models = ()

    def __init__(self, capability: str) -> None:
        self._capability = capability

    def parse(self, body: Mapping[str, Any]) -> ParsedRequest:  # noqa: ARG002
        message = f"The engine of this server does not support {self._capability}."
        raise RequestError(404, "ENDPOINT_NOT_FOUND", message)
