"""A copy of a journal's file, without SQLite's write-ahead log beside it, has all rows."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.runnables import RunnableLambda

from langchain_dbx_eval import EvaluationCallbackHandler, EvaluationResult, errors, evaluate, scorer
from langchain_dbx_eval._internal.paths import journals_root
from tests.evaluation.questions import RECORDS

pytestmark = pytest.mark.usefixtures("mlflow_store")


def rows_of_a_copy(journal: Path, folder: Path) -> int:
    """Return how many rows a copy of the file alone has, whose connection is still open."""
    return len(EvaluationResult.load(shutil.copy(journal, folder)).rows)


def the_journal() -> Path:
    [path] = journals_root().glob("*.sqlite")
    return path


def test_a_copy_of_a_finished_evaluation_has_all_rows(tmp_path: Path) -> None:
    result = evaluate(lambda request: "answer", RECORDS)
    assert rows_of_a_copy(the_journal(), tmp_path) == len(result.rows) == 6


def test_a_copy_of_an_evaluation_that_ended_with_an_error_has_its_rows(tmp_path: Path) -> None:
    usage = UsageMetadata(input_tokens=1, output_tokens=1, total_tokens=2)
    answers = (AIMessage("answer", usage_metadata=usage) for _ in RECORDS)
    with pytest.raises(errors.BudgetExceededError):
        evaluate(GenericFakeChatModel(messages=answers), RECORDS, max_tokens=3, max_concurrency=1)
    assert rows_of_a_copy(the_journal(), tmp_path) == 2


def test_a_copy_of_the_calls_of_a_callback_has_all_rows(tmp_path: Path) -> None:
    handler = EvaluationCallbackHandler()
    for number in range(5):
        RunnableLambda(str).invoke(number, {"callbacks": [handler]})
    result = handler.result()
    assert rows_of_a_copy(the_journal(), tmp_path) == len(result.rows) == 5


def test_the_path_of_a_running_evaluation_is_that_of_a_complete_file(tmp_path: Path) -> None:
    copied: list[int] = []

    @scorer
    def copies(request: str) -> None:
        if request == "last":
            result = EvaluationResult.load(the_journal())
            copied.append(rows_of_a_copy(result.journal, tmp_path) - len(result.rows))

    data = [{"request": str(n), "response": "a"} for n in range(20)]
    evaluate(data=[*data, {"request": "last", "response": "a"}], scorers=[copies])
    assert copied == [0]
