"""OpenAI's chat completions, completions and embeddings.

Source: OpenAI's API reference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from langchain_dbx_eval.driver.engines.base import GenerationRequest
from langchain_dbx_eval.driver.engines.messages import transcript
from langchain_dbx_eval.driver.errors import invalid
from langchain_dbx_eval.driver.protocol.chat_messages import MAX_MESSAGES, ChatMessage
from langchain_dbx_eval.driver.protocol.prompt import (
    MAX_STOP_LENGTH,
    MAX_STOPS,
    ParameterizedFormat,
    StopList,
)
from langchain_dbx_eval.driver.protocol.requests import (
    Capabilities,
    ParsedEmbedding,
    ParsedGeneration,
    ResponseFormat,
)
from langchain_dbx_eval.driver.protocol.validation import (
    Expected,
    RequestModel,
    Unlisted,
    Unsupported,
    validate,
)

__all__ = ["MAX_CHOICES", "ChatCompletionFormat", "CompletionFormat", "EmbeddingFormat"]

MAX_CHOICES = 64
"""Prompts times choices per prompt (``n``) in one request."""

_MAX_TEXTS = 2_048
"""Texts to embed in one request: OpenAI's limit."""

_MAX_DIMENSIONS = 65_536
_MAX_MODEL_NAME = 200

_Flag = Annotated[bool | None, Expected("true, false or null")]
_Ignored = Annotated[Any, Unlisted()]
_Dimensions = Annotated[
    int | None,
    Field(ge=1, le=_MAX_DIMENSIONS),
    Expected(f"a whole number from 1 to {_MAX_DIMENSIONS}"),
]


class TextResponseFormat(RequestModel):
    """OpenAI's default response format."""

    type: Literal["text"]


class _OpenAIRequest(RequestModel):
    """Fields of all three APIs.

    OpenAI's clients send some fields that are not supported here: those that describe the caller
    are ignored, the others are accepted with the value that requests nothing.
    """

    model: Annotated[str | None, Expected("a string or null")] = None

    metadata: _Ignored = None
    safety_identifier: _Ignored = None
    store: _Ignored = None
    user: _Ignored = None

    best_of: Annotated[Literal[1] | None, Unsupported()] = None
    echo: Annotated[Literal[False] | None, Unsupported()] = None
    logit_bias: Annotated[dict[str, Any] | None, Field(max_length=0), Unsupported()] = None
    logprobs: Annotated[Literal[False, 0] | None, Unsupported()] = None
    parallel_tool_calls: Annotated[bool | None, Unsupported()] = None
    response_format: Annotated[TextResponseFormat | None, Unsupported()] = None
    service_tier: Annotated[Literal["auto", "default"] | None, Unsupported()] = None
    suffix: Annotated[Literal[""] | None, Unsupported()] = None
    tool_choice: Annotated[Literal["none", "auto"] | None, Unsupported()] = None
    tools: Annotated[list[Any] | None, Field(max_length=0), Unsupported()] = None


class StreamOptions(RequestModel):
    """Options of a stream; others than these are ignored."""

    model_config = ConfigDict(extra="ignore")

    include_usage: _Flag = None


class _GenerationFields(_OpenAIRequest):
    n: Annotated[
        int | None, Field(ge=1, le=MAX_CHOICES), Expected(f"a whole number from 1 to {MAX_CHOICES}")
    ] = None
    stop: Annotated[
        Annotated[str, Field(min_length=1, max_length=MAX_STOP_LENGTH)] | StopList | None,
        Expected(
            f"a string with 1 to {MAX_STOP_LENGTH} characters, a list of strings (at most "
            f"{MAX_STOPS}), or null"
        ),
    ] = None
    stream: _Flag = None
    stream_options: StreamOptions | None = None


class ChatCompletionRequest(_GenerationFields):
    """``POST /v1/chat/completions``."""

    messages: list[ChatMessage] = Field(
        min_length=1, max_length=MAX_MESSAGES, description="the conversation so far"
    )


class CompletionRequest(_GenerationFields):
    """``POST /v1/completions``."""

    prompt: Annotated[
        str | Annotated[list[str], Field(min_length=1, max_length=MAX_CHOICES)],
        Expected(f"a string or a list of 1 to {MAX_CHOICES} strings; token ids are not supported"),
    ] = Field(description="the text to complete")


class EmbeddingRequest(_OpenAIRequest):
    """``POST /v1/embeddings``."""

    input: Annotated[
        str | Annotated[list[str], Field(min_length=1, max_length=_MAX_TEXTS)],
        Expected(
            f"a string or a list of 1 to {_MAX_TEXTS} strings; token ids are not supported: set "
            "check_embedding_ctx_length=False in langchain-openai's OpenAIEmbeddings"
        ),
    ] = Field(description="the texts to embed")
    # One class for all engines would make the OpenAPI description wrong for some of them.
    dimensions: Annotated[None, Unsupported()] = None
    encoding_format: Annotated[
        Literal["float", "base64"] | None, Expected("'float', 'base64' or null")
    ] = None


class ResizableEmbeddingRequest(EmbeddingRequest):
    """``POST /v1/embeddings`` for an engine whose vectors can be shortened."""

    dimensions: _Dimensions = None  # type: ignore[assignment]


class ChatCompletionFormat(ParameterizedFormat[ChatCompletionRequest]):
    """Chat completions, for an engine that generates text."""

    def __init__(self, capabilities: Capabilities) -> None:
        super().__init__(ChatCompletionRequest, capabilities)
        self._has_chat_format = capabilities.messages

    def parse(self, body: Mapping[str, Any]) -> ParsedGeneration:
        """Parse a body.

        Raises:
            RequestError: 400, for a body that violates the format, or messages that a model
                without a chat format cannot read.
        """
        request, params = self.validate(body)
        messages = tuple(body["messages"])
        if self._has_chat_format:
            prompt = GenerationRequest(messages=messages)
        else:
            prompt = GenerationRequest(transcript(messages))
        return _parsed_generation("chat", request, [prompt], params)


class CompletionFormat(ParameterizedFormat[CompletionRequest]):
    """Completions, for an engine that generates text."""

    def __init__(self, capabilities: Capabilities) -> None:
        super().__init__(CompletionRequest, capabilities)

    def parse(self, body: Mapping[str, Any]) -> ParsedGeneration:
        """Parse a body.

        Raises:
            RequestError: 400, for a body that violates the format.
        """
        request, params = self.validate(body)
        prompts = [request.prompt] if isinstance(request.prompt, str) else request.prompt
        requests = [GenerationRequest(prompt) for prompt in prompts]
        return _parsed_generation("completion", request, requests, params)


class EmbeddingFormat:
    """Embeddings, for an engine that computes them."""

    def __init__(self, capabilities: Capabilities) -> None:
        self._model = ResizableEmbeddingRequest if capabilities.dimensions else EmbeddingRequest
        self.models = (self._model,)

    def parse(self, body: Mapping[str, Any]) -> ParsedEmbedding:
        """Parse a body.

        Raises:
            RequestError: 400, for a body that violates the format.
        """
        request = validate(self._model, body)
        texts = (request.input,) if isinstance(request.input, str) else tuple(request.input)
        return ParsedEmbedding(
            texts,
            request.encoding_format == "base64",
            model=_model(request),
            dimensions=request.dimensions,
        )


def _parsed_generation(
    response_format: ResponseFormat,
    request: _GenerationFields,
    prompts: Sequence[GenerationRequest],
    params: dict[str, Any],
) -> ParsedGeneration:
    n, stream = request.n or 1, bool(request.stream)
    if n * len(prompts) > MAX_CHOICES:
        limit = MAX_CHOICES // len(prompts)
        raise invalid(f"'n' must be a whole number from 1 to {limit} for {len(prompts)} prompts.")
    if stream and n * len(prompts) > 1:
        raise invalid("'stream' supports one prompt and one choice: omit 'n', or do not stream.")
    stop = (request.stop,) if isinstance(request.stop, str) else tuple(request.stop or ())
    requests = tuple(
        replace(prompt, stop=stop, params=_with_seed(params, choice))
        for prompt in prompts
        for choice in range(n)
    )
    options = request.stream_options
    return ParsedGeneration(
        response_format,
        requests,
        n,
        stream,
        usage_in_stream=bool(options and options.include_usage),
        model=_model(request),
    )


def _with_seed(params: dict[str, Any], choice: int) -> dict[str, Any]:
    """Return the parameters of one choice: with the same seed all choices would be equal."""
    if "seed" not in params or choice == 0:
        return params
    return {**params, "seed": (params["seed"] + choice) % 2**63}


def _model(request: _OpenAIRequest) -> str | None:
    # The response contains it, and must stay small.
    return request.model[:_MAX_MODEL_NAME] if request.model else None
