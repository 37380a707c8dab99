"""The table of serving tasks.

To support a task, write its codec module and add a line to `TASKS`.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from langchain_dbx_eval._internal.import_string import load_object
from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.wire.codec import ChatCodec, EmbeddingsCodec, TextCodec

__all__ = [
    "CHAT",
    "COMPLETIONS",
    "CUSTOM_MODEL",
    "DRIVER_APP",
    "EMBEDDINGS",
    "RESPONSES",
    "TASKS",
    "Task",
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
