"""A chain whose steps are real LangChain runs."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableLambda, RunnablePassthrough


class Finder(BaseRetriever):
    """Retrieves the document with the question's number."""

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        number = query.split()[-1]
        return [Document(page_content=f"answer {number}", metadata={"source": f"{number}.md"})]


@pytest.fixture
def chain() -> Runnable[str, Any]:
    """Answers "question n" with "answer n" from document n."""
    return {"docs": Finder(), "question": RunnablePassthrough()} | RunnableLambda(
        lambda gathered: gathered["docs"][0].page_content
    )
