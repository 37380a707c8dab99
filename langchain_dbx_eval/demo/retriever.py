"""The retrievers of the demonstration: a baseline and an improved one."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import Field, PrivateAttr

from langchain_dbx_eval._internal.imports import require
from langchain_dbx_eval.demo.corpus import load_corpus

__all__ = ["BM25Retriever", "retriever_for"]

Tokenizer = Callable[[str], list[str]]


class BM25Retriever(BaseRetriever):
    """BM25 retriever over documents in memory.

    Attributes:
        documents: The documents to search, at least one.
        tokenizer: Function from a text to its terms, for documents and queries.
        k: The maximum number of documents to return; documents without a term of the query are
            never returned.
    """

    documents: list[Document] = Field(min_length=1)
    tokenizer: Tokenizer
    k: int = Field(default=4, ge=1)

    _index: Any = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Index the documents."""
        super().model_post_init(context)
        self._index = require("bm25s", extra="demo").BM25()
        self._index.index(
            [self.tokenizer(document.page_content) for document in self.documents],
            show_progress=False,
        )

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,  # noqa: ARG002 - the signature of BaseRetriever
    ) -> list[Document]:
        found, scores = self._index.retrieve(
            [self.tokenizer(query)],
            k=min(self.k, len(self.documents)),
            show_progress=False,
            backend_selection="numpy",
        )
        return [
            self.documents[position]
            for position, score in zip(found[0], scores[0], strict=True)
            if score > 0
        ]


def retriever_for(variant: Literal["baseline", "better"]) -> BaseRetriever:
    """Create the retriever of one variant of the demonstration.

    Args:
        variant: ``"baseline"`` indexes the words of whole pages; ``"better"`` indexes paragraphs
            with the title of their page, by stems and without stop words.

    Returns:
        The retriever. The metadata of its documents have the ``doc_uri`` of their page.
    """
    if variant == "baseline":
        return BM25Retriever(documents=load_corpus(), tokenizer=_words, k=2)
    return BM25Retriever(documents=_paragraphs(load_corpus()), tokenizer=_stems, k=4)


def _paragraphs(pages: list[Document]) -> list[Document]:
    chunks = []
    for page in pages:
        title, *paragraphs = page.page_content.strip().split("\n\n")
        chunks += [
            Document(page_content=f"{title}\n\n{paragraph}", metadata=page.metadata)
            for paragraph in paragraphs
        ]
    return chunks


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _stems(text: str) -> list[str]:
    stop_words = require("bm25s.stopwords", extra="demo").STOPWORDS_EN
    # One stemmer per call: it stores the current word in itself (snowballstemmer 3.1.1), so it must
    # not be shared by threads.
    stemmer = require("snowballstemmer", extra="demo").stemmer("english")
    return [stemmer.stemWord(word) for word in _words(text) if word not in stop_words]
