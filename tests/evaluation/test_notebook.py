"""Evaluation in a notebook cell, whose event loop is running."""

from __future__ import annotations

import nbformat
import pytest
from nbclient import NotebookClient

EVALUATE = """
import mlflow
from langchain_dbx_eval import evaluate

async def answer(question):
    return "answer"

data = [{"request": {"q": str(n)}, "expected_response": "answer"} for n in range(5)]
result = evaluate(answer, data)
result
"""
STREAM = """
from langchain_core.runnables import RunnableLambda
from langchain_dbx_eval import EvaluationCallbackHandler

handler = EvaluationCallbackHandler()
await RunnableLambda(answer).abatch(["a", "b"], config={"callbacks": [handler]})
print(len(handler.result().rows))
"""


@pytest.mark.timeout(600)
def test_a_notebook_cell_evaluates_and_shows_the_result(
    mlflow_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_store)
    cells = [nbformat.v4.new_code_cell(cell) for cell in (EVALUATE, STREAM)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, timeout=500, kernel_name="python3").execute()
    evaluated, streamed = (list(cell["outputs"]) for cell in notebook["cells"])

    [shown] = [o["data"]["text/html"] for o in evaluated if o["output_type"] == "execute_result"]
    assert "None of 5 rows failed" in shown
    assert "exact_match/average" in shown
    assert "".join(o.get("text", "") for o in streamed if o.get("name") == "stdout") == "2\n"
