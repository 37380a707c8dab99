"""The table of serving tasks."""

from __future__ import annotations

import pytest

from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.wire.tasks import (
    CUSTOM_MODEL,
    TASKS,
    ChatCodec,
    EmbeddingsCodec,
    TextCodec,
    chat_codec,
    embeddings_codec,
    text_codec,
)


@pytest.mark.parametrize("task", TASKS)
def test_each_codec_of_the_table_can_be_loaded(task: str) -> None:
    codecs = TASKS[task]
    assert any(codecs)
    if codecs.chat:
        assert isinstance(chat_codec(task), ChatCodec)
    if codecs.text:
        assert isinstance(text_codec(task), TextCodec)
    if codecs.embeddings:
        assert isinstance(embeddings_codec(task), EmbeddingsCodec)


@pytest.mark.parametrize("task", [None, "unknown", "llm/v1/embeddings", "agent/v2/chat"])
def test_a_task_without_a_text_codec_is_a_custom_model(task: str | None) -> None:
    assert text_codec(task) is text_codec(CUSTOM_MODEL)


@pytest.mark.parametrize("task", ["unknown", "llm/v1/embeddings"])
def test_a_task_without_a_chat_codec_is_rejected_with_those_that_have_one(task: str) -> None:
    with pytest.raises(ConfigurationError, match=r"llm/v1/chat.*agent/v2/chat"):
        chat_codec(task)
