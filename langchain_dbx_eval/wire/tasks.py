"""The serving tasks: the types of their codecs, one per LangChain component, and the table of both.

To support a task, write its codec module and add a line to `TASKS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_dbx_eval._internal.imports import load_object
from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.wire.stream_reader import EventReader

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import ChatGenerationChunk, ChatResult, Generation, GenerationChunk

__all__ = [
    "CHAT",
    "COMPLETIONS",
    "CUSTOM_MODEL",
    "DRIVER_APP",
    "EMBEDDINGS",
    "RESPONSES",
    "TASKS",
    "ChatCodec",
    "EmbeddingsCodec",
    "Task",
    "TextCodec",
    "chat_codec",
    "embeddings_codec",
    "text_codec",
]

CHAT = "llm/v1/chat"
COMPLETIONS = "llm/v1/completions"
EMBEDDINGS = "llm/v1/embeddings"
RESPONSES = "agent/v1/responses"
CUSTOM_MODEL = "custom"
"""Any task that is not in the table: a custom MLflow model."""
DRIVER_APP = "app"
"""An app on a cluster's driver node."""


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
        has_optional_names: Whether the messages have a ``name``, which not all endpoints accept.
    """

    encode: Callable[[Sequence[BaseMessage], dict[str, Any]], dict[str, Any]]
    decode: Callable[[Any], ChatResult]
    stream: Callable[[], EventReader[ChatGenerationChunk]]
    route: str = "chat/completions"
    recognize: Callable[[str], EventReader[ChatGenerationChunk] | None] | None = None
    has_usage_option: bool = False
    has_optional_names: bool = False


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


class Task(NamedTuple):
    """The codecs of a serving task, as ``"module:name"`` in `langchain_dbx_eval.wire`.

    Attributes:
        chat: The `ChatCodec`; None: `ChatDatabricks` does not support the task.
        text: The `TextCodec`; None: `Databricks` handles the task as a custom model.
        embeddings: The `EmbeddingsCodec`.
    """

    chat: str | None = None
    text: str | None = None
    embeddings: str | None = None


TASKS = {
    CHAT: Task(chat="chat_by_shape:CODEC", text="openai.completions:CHAT_CODEC"),
    COMPLETIONS: Task(text="openai.completions:CODEC"),
    EMBEDDINGS: Task(embeddings="openai.embeddings:CODEC"),
    "agent/v1/chat": Task(chat="chat_by_shape:CODEC"),  # MLflow's ChatModel
    RESPONSES: Task(chat="responses:CODEC"),  # MLflow's ResponsesAgent
    "agent/v2/chat": Task(chat="mlflow.chat_agent:CODEC"),  # MLflow's ChatAgent
    CUSTOM_MODEL: Task(text="mlflow.scoring_server:CODEC"),
    DRIVER_APP: Task(text="plain_prompt:CODEC"),
}
"""The supported tasks. Codecs are loaded when they are first used."""


def chat_codec(task: str) -> ChatCodec:
    """Return the codec of a task for `ChatDatabricks`.

    Raises:
        ConfigurationError: The task is not a chat task.
    """
    reference = TASKS.get(task, Task()).chat
    if reference is None:
        known = ", ".join(name for name, codecs in TASKS.items() if codecs.chat)
        msg = f"task={task!r} is not a chat task. Supported: {known}."
        raise ConfigurationError(msg)
    codec: ChatCodec = _load(reference)
    return codec


def text_codec(task: str | None) -> TextCodec:
    """Return the codec of a task for `Databricks`; default: that of a custom model."""
    codec: TextCodec = _load(TASKS.get(task or "", Task()).text or TASKS[CUSTOM_MODEL].text)
    return codec


def embeddings_codec(task: str) -> EmbeddingsCodec:
    """Return the codec of a task for `DatabricksEmbeddings`."""
    codec: EmbeddingsCodec = _load(TASKS[task].embeddings)
    return codec


@cache
def _load(reference: str) -> Any:
    return load_object(f"{__package__}.{reference}")
