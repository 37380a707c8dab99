# %% [markdown]
# # Evaluate a RAG chain
#
# A retriever, a prompt and a model, evaluated with judges and retrieval metrics, and a report.
# On the emulator the model and the judge are deterministic functions.

# %%
import os
import sys

ON_WORKSPACE = "--workspace" in sys.argv or "DATABRICKS_RUNTIME_VERSION" in os.environ
ENDPOINT = os.environ.get("EXAMPLE_ENDPOINT", "databricks-meta-llama-3-3-70b-instruct")

if not ON_WORKSPACE:
    from langchain_dbx_eval.testing import LocalWorkspace

    def answer(messages: list[dict[str, str]], **params: object) -> str:
        """Replace a model: repeat the context. For a judge: accept every answer."""
        if "verdict" in str(messages) or "rating" in str(messages):
            return '{"rationale": "A deterministic judge.", "rating": "yes"}'
        return messages[0]["content"].removeprefix("Answer from this context: ")

    workspace = LocalWorkspace().start()
    workspace.add_endpoint(ENDPOINT, answer, kind="chat")

# %% [markdown]
# ## The chain

# %%
import mlflow
from langchain_dbx_eval import ChatDatabricks, evaluate
from langchain_core.documents import Document
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnablePassthrough

PAGES = {
    "returns.md": "You can return a product within 30 days.",
    "shipping.md": "Shipping takes two days.",
    "payment.md": "You can pay by card or by bank transfer.",
}


class Pages(BaseRetriever):
    k: int = 1

    def _get_relevant_documents(self, query: str, *, run_manager: object) -> list[Document]:
        terms = set(query.lower().rstrip("?").split())
        best = sorted(PAGES, key=lambda name: -len(terms & set(PAGES[name].lower().split())))
        return [Document(PAGES[name], metadata={"doc_uri": name}) for name in best[: self.k]]


def join(documents: list[Document]) -> str:
    return " ".join(document.page_content for document in documents)


def build_chain(k: int) -> Runnable[str, object]:
    prompt = ChatPromptTemplate.from_messages(
        [("system", "Answer from this context: {context}"), ("human", "{question}")]
    )
    inputs = {"context": Pages(k=k) | join, "question": RunnablePassthrough()}
    return inputs | prompt | ChatDatabricks(model=ENDPOINT, temperature=0, max_tokens=200)


if ON_WORKSPACE:
    mlflow.set_tracking_uri("databricks")
    mlflow.set_experiment(os.environ.get("EXAMPLE_EXPERIMENT", "/Shared/langchain-dbx-eval"))

# %% [markdown]
# ## Evaluate
#
# Judges receive question, answer, expected answer and documents.

# %%
questions = [
    {
        "request": "Can you return a product?",
        "expected_response": "You can return a product within 30 days.",
        "expected_retrieved_context": [{"doc_uri": "returns.md"}],
    },
    {
        "request": "How many days does shipping take?",
        "expected_response": "Shipping takes two days.",
        "expected_retrieved_context": [{"doc_uri": "shipping.md"}],
    },
]
judge = ChatDatabricks(model=ENDPOINT, temperature=0)
result = evaluate(build_chain(k=1), questions, judge=judge, run_name="rag")
for name in ("correctness", "groundedness", "document_recall"):
    print(name, result.summary[name])

# %% [markdown]
# ## Report
#
# One file that opens without a server.

# %%
from pathlib import Path

from langchain_dbx_eval.reporting import write_report

print(write_report(result, Path("reports/rag.html")))
if not ON_WORKSPACE:
    workspace.stop()
