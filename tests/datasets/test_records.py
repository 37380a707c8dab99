"""Records come in two vocabularies, and a bad row says what is wrong with it."""

from __future__ import annotations

import hashlib
import json

import pandas as pd
import pytest

from langchain_dbx_eval import EvalDataset, EvalRecord
from langchain_dbx_eval.datasets import record_key
from langchain_dbx_eval.datasets.records import read_records
from langchain_dbx_eval.errors import SchemaError


def test_both_vocabularies_say_the_same() -> None:
    agent_evaluation = {
        "request_id": "1",
        "request": {"question": "q"},
        "response": "r",
        "expected_response": "e",
        "expected_facts": ["f"],
    }
    mlflow = {
        "request_id": "1",
        "inputs": {"question": "q"},
        "outputs": "r",
        "expectations": {"expected_response": "e", "expected_facts": ["f"]},
    }
    assert EvalRecord.from_row(agent_evaluation) == EvalRecord.from_row(mlflow)


def test_a_record_is_named_by_the_key_that_mlflow_uses() -> None:
    inputs = {"b": 1, "a": "한"}
    key = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
    assert record_key(inputs) == key
    assert EvalRecord(request=inputs).request_id == key


def test_a_text_is_wrapped_as_mlflow_inputs_and_unwrapped_again() -> None:
    record = EvalRecord(request="q")
    assert record.inputs == {"request": "q"}
    assert EvalRecord.from_row({"inputs": record.inputs}).request == "q"


def test_what_else_a_row_has_is_kept() -> None:
    record = EvalRecord.from_row(
        {"request": "q", "topic": "x", "expectations": {"expected_response": "e", "tone": "y"}}
    )
    assert record.metadata == {"topic": "x", "tone": "y"}


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({}, r"Row 7, column 'request'"),
        ({"request": None}, r"column 'request'"),
        ({"request": "q", "inputs": "q"}, "both 'inputs' and 'request'"),
        ({"request": "q", "expected_facts": "f"}, r"column 'expected_facts'.*list.*not str"),
        ({"request": "q", "expected_response": 5}, r"column 'expected_response'.*not int"),
        ({"request": "q", "expectations": "e"}, r"column 'expectations'.*dict"),
        ({"request": "q", "expected_retrieved_context": ["a"]}, "objects in its list"),
        ({"request": "q", "expected_retrieved_context": [{"content": "c"}]}, "'doc_uri'"),
    ],
)
def test_a_bad_row_names_row_column_and_expectation(row: dict, told: str) -> None:
    with pytest.raises(SchemaError, match=told):
        EvalRecord.from_row(row, 7)


def test_a_bad_row_does_not_lose_the_others() -> None:
    records, errors = read_records([{"request": "a"}, {"no": "request"}, 5, {"request": "b"}])
    assert [r.request for r in records] == ["a", "b"]
    assert len(errors) == 2


def test_missing_cells_of_a_frame_are_absent() -> None:
    frame = pd.DataFrame(
        [
            {"request": "a", "expected_response": "b", "n": 1, "at": pd.Timestamp(0)},
            {"request": "c"},
        ]
    )
    first, second = EvalDataset.load(frame)
    assert first.expected_response == "b"
    assert second.expected_response is None
    assert second.metadata == {}
