"""The demonstration's chain: retrieve, put into a prompt, ask the model behind the driver proxy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.documents import Document
from langchain_core.language_models import BaseLLM
from langchain_core.prompts import PromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnablePassthrough

from langchain_dbx_eval.demo.answerer import PROMPT

__all__ = ["build_chain"]


def build_chain(retriever: BaseRetriever, llm: BaseLLM) -> Runnable[str, Any]:
    """Put a retriever and a model together.

    Args:
        retriever: Finds documents for a question.
        llm: Answers the prompt that is made of both.

    Returns:
        A chain from a question to an answer.
    """
    gather = {"context": retriever | _join, "question": RunnablePassthrough()}
    return gather | PromptTemplate.from_template(PROMPT) | llm


def _join(documents: Sequence[Document]) -> str:
    return "\n\n".join(document.page_content for document in documents)
