"""The evaluation sets of the Databricks page "How to run an evaluation and view the results"."""

from __future__ import annotations

from typing import Any

from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

QUESTION = "What is the difference between reduceByKey and groupByKey in Spark?"
EXPECTED: dict[str, Any] = {
    "expected_retrieved_context": [
        {"content": f"Answer segment 1 related to {QUESTION}", "doc_uri": "doc_uri_2_1"},
        {"content": f"Answer segment 2 related to {QUESTION}", "doc_uri": "doc_uri_2_2"},
    ],
    "expected_response": "There's no significant difference.",
}
OUTPUT: dict[str, Any] = {
    "response": "reduceByKey aggregates data before shuffling, whereas groupByKey shuffles all "
    "data, making reduceByKey more efficient.",
}
RETRIEVED: dict[str, Any] = {
    "retrieved_context": [
        {
            "content": "reduceByKey reduces the amount of data shuffled by merging values before "
            "shuffling.",
            "doc_uri": "doc_uri_2_1",
        },
        {
            "content": "groupByKey may lead to inefficient data shuffling due to sending all "
            "values across the network.",
            "doc_uri": "doc_uri_6_extra",
        },
    ],
}
BARE_MINIMUM = [{"request": QUESTION}]
COMPLETE = [{"request_id": "your-request-id", "request": QUESTION, **EXPECTED}]
BARE_MINIMUM_WITH_OUTPUTS = [{**row, **OUTPUT} for row in BARE_MINIMUM]
COMPLETE_WITH_OUTPUTS = [{**row, **OUTPUT, **RETRIEVED} for row in COMPLETE]


class DocumentedRetriever(BaseRetriever):
    """Returns the documents of `RETRIEVED`."""

    def _get_relevant_documents(self, query: str, **kwargs: Any) -> list[Document]:
        return [
            Document(chunk["content"], metadata={"doc_uri": chunk["doc_uri"]})
            for chunk in RETRIEVED["retrieved_context"]
        ]
