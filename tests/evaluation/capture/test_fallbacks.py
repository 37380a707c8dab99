"""A chain with fallbacks is one call, although LangChain reports its children without a parent."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda

from langchain_dbx_eval import EvaluationCallbackHandler
from tests.evaluation.calling import METHODS
from tests.evaluation.questions import RECORDS

pytestmark = pytest.mark.usefixtures("mlflow_store")
QUESTIONS = [record["request"] for record in RECORDS]


def failing(question: str) -> str:
    raise ValueError("the first one fails")


@pytest.mark.parametrize("call", METHODS, ids=lambda method: method.__name__)
def test_each_call_is_one_row_with_its_documents(
    chain: Runnable[str, Any], call: Callable[..., None]
) -> None:
    if sys.version_info < (3, 11) and call.__name__ in {"ainvoke", "gather"}:
        pytest.skip("LangChain runs the children of ainvoke in no context of their parent")
    handler = EvaluationCallbackHandler(RECORDS)
    fallbacks = RunnableLambda(failing).with_fallbacks([RunnableLambda(failing), chain])
    call(fallbacks, QUESTIONS, {"callbacks": [handler]})
    result = handler.result()
    assert len(result.rows) == len(QUESTIONS)
    assert not result.failures
    assert not result.unmatched
    assert result.metrics["response/ground_truth/exact_match/average"] == 1.0
    assert result.metrics["retrieval/ground_truth/document_recall/average"] == 0.5
    for row in result.rows:
        steps = {span.run_id for span in row.run.spans}
        assert all(span.parent_id in steps for span in row.run.spans[1:])


def test_fallbacks_inside_a_chain_belong_to_its_call(chain: Runnable[str, Any]) -> None:
    handler = EvaluationCallbackHandler(RECORDS)
    fallbacks = RunnableLambda(failing).with_fallbacks([chain])
    (RunnableLambda(lambda text: text) | fallbacks).invoke("question 0", {"callbacks": [handler]})
    assert len(handler.result().rows) == 1


def test_a_part_with_a_handler_of_its_own_is_one_call_each() -> None:
    handler = EvaluationCallbackHandler()
    part = RunnableLambda(str.upper).with_config(callbacks=[handler])

    def twice(question: str, config: RunnableConfig) -> str:
        return part.invoke(question) + part.invoke(question)

    RunnableLambda(twice).invoke("q")
    assert len(handler.result().rows) == 2
