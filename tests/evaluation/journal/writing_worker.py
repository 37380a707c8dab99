"""A process that saves rows to a journal, and prints the number of rows after each."""

from __future__ import annotations

import itertools

from langchain_dbx_eval import EvalRecord
from langchain_dbx_eval.evaluation.journal.manifest import EvaluationManifest
from langchain_dbx_eval.evaluation.journal.rows import Answer, RowKey
from langchain_dbx_eval.evaluation.journal.store import Journal
from langchain_dbx_eval.scoring import Outcome

if __name__ == "__main__":
    journal = Journal.create(EvaluationManifest.describe(None, []))
    print(journal.path, flush=True)  # noqa: T201
    for number in itertools.count():
        record = EvalRecord(request=f"question {number}")
        outcome = Outcome(response="x" * (number % 50) * 100)
        journal.save_answer(RowKey(number), Answer(record=record, outcome=outcome))
        print(number + 1, flush=True)  # noqa: T201
