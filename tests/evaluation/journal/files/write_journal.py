"""Write the journal files of this folder, with the code as it is now.

    python tests/evaluation/journal/files/write_journal.py v1

writes ``v1.sqlite``, the journal of an ``evaluate()`` whose process died, and
``v1_callback.sqlite``, that of a callback whose process died before its result. Run it once per
schema version, before the code that writes the next version, and check in the files. The MLflow
server of both is unreachable, so that neither has a run.
"""

# ruff: noqa: T201 - a script

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableLambda, RunnablePassthrough

FOLDER = Path(__file__).parent
RECORDS = [
    {
        "request_id": f"r{n}",
        "request": f"question {n}",
        "expected_response": f"answer {n}",
        "expected_retrieved_context": [{"doc_uri": f"{n}.md"}, {"doc_uri": "never.md"}],
        "asked_on": date(2026, 1, 1 + n),
    }
    for n in range(6)
]
FAILING = "question 1"
LAST_ANSWERED = 3
"""The process dies while this row is being scored."""
CONFIG = {"databricks-agent": {"metrics": ["relevance_to_query", "groundedness"]}}


class Finder(BaseRetriever):
    """Find the document of a question's number."""

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        number = query.split()[-1]
        return [Document(page_content=f"answer {number}", metadata={"source": f"{number}.md"})]


class Model(BaseChatModel):
    """Answer with the last word of the prompt; count tokens."""

    @property
    def _llm_type(self) -> str:
        return "last-word"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        if FAILING in messages[0].text:
            raise ValueError("no answer to this one")
        usage = {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7}
        message = AIMessage(f"answer {messages[0].text.split()[-1]}", usage_metadata=usage)
        return ChatResult(generations=[ChatGeneration(message=message)])


def make_chain() -> Runnable[str, Any]:
    """Return a chain with a retriever and a chat model, which fails for one question."""
    gathered = {"docs": Finder(), "question": RunnablePassthrough()}
    return gathered | RunnableLambda(lambda found: found["question"]) | Model()


def make_judge() -> FakeListChatModel:
    return FakeListChatModel(responses=['{"rationale": "as asked", "rating": "yes"}'])


class Crash:
    """A scorer that ends the process at one row."""

    name, column = "crash", "metric/crash"

    async def score(self, context: Any) -> list[Any]:
        if context.record.request_id == f"r{LAST_ANSWERED}":
            os._exit(9)
        return []


def run_evaluate() -> None:
    from langchain_dbx_eval import evaluate
    from langchain_dbx_eval.scoring import DEFAULT_SCORERS

    evaluate(
        make_chain(),
        RECORDS,
        judge=make_judge(),
        evaluator_config=CONFIG,
        scorers=[*DEFAULT_SCORERS, Crash()],
        max_concurrency=1,
        run_name="stored",
    )


def run_callback() -> None:
    from langchain_dbx_eval import EvaluationCallbackHandler
    from langchain_dbx_eval._internal.paths import journals_root

    handler = EvaluationCallbackHandler(RECORDS)
    config = {"callbacks": [handler], "tags": ["live"]}
    make_chain().batch(["question 0", "question 0", "thank you 7"], config)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for path in journals_root().glob("*.sqlite"):
            with sqlite3.connect(path) as database:
                if database.execute("SELECT sum(scored) FROM answers").fetchone() == (3,):
                    os._exit(9)
        time.sleep(0.1)
    os._exit(1)


def main(version: str) -> None:
    for kind, name in (("evaluate", version), ("callback", f"{version}_callback")):
        with tempfile.TemporaryDirectory() as home:
            # An address with a password: the journal does not contain it, so that a test can sync
            # to a store of its own.
            uri = "http://user:password@127.0.0.1:9"
            environment = {**os.environ, "DBX_EVAL_HOME": home, "MLFLOW_TRACKING_URI": uri}
            command = [sys.executable, __file__, "--run", kind]
            done = subprocess.run(command, env=environment, check=False)
            assert done.returncode == 9, done.returncode
            [journal] = Path(home, "journals").glob("*.sqlite")
            with sqlite3.connect(journal) as database:
                # One file, without a write-ahead log beside it.
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            shutil.copy(journal, FOLDER / f"{name}.sqlite")
        print(FOLDER / f"{name}.sqlite")


if __name__ == "__main__":
    if sys.argv[1] == "--run":
        {"evaluate": run_evaluate, "callback": run_callback}[sys.argv[2]]()
    else:
        main(sys.argv[1])
