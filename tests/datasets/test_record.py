"""Records in both vocabularies, and the errors of invalid rows."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pandas as pd
import pytest
from langchain_core.messages import AIMessage, HumanMessage

from langchain_dbx_eval import EvalDataset, EvalRecord
from langchain_dbx_eval.datasets import record_key
from langchain_dbx_eval.datasets.record import doc_uri_of
from langchain_dbx_eval.errors import SchemaError


def test_both_vocabularies_result_in_the_same_record() -> None:
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


def test_the_request_id_defaults_to_the_key_of_mlflow() -> None:
    inputs = {"b": 1, "a": "한"}
    key = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
    assert record_key(inputs) == key
    assert EvalRecord(request=inputs).request_id == key


def test_a_string_request_is_wrapped_as_mlflow_inputs_and_unwrapped_again() -> None:
    record = EvalRecord(request="q")
    assert record.inputs == {"request": "q"}
    assert EvalRecord.from_row({"inputs": record.inputs}).request == "q"


def test_other_columns_become_metadata_and_other_expectations_stay_expectations() -> None:
    record = EvalRecord.from_row(
        {"request": "q", "topic": "x", "expectations": {"expected_response": "e", "tone": "y"}}
    )
    assert record.metadata == {"topic": "x"}
    assert record.custom_expected == {"tone": "y"}
    assert record.expectations == {"expected_response": "e", "tone": "y"}
    assert EvalRecord.from_row(record.to_row()) == record


@pytest.mark.parametrize(
    ("metadata", "uri"),
    [
        ({"url": "d", "source": "c", "uri": "b", "doc_uri": "a"}, "a"),
        ({"url": "d", "source": "c", "uri": "b", "doc_uri": None}, "b"),
        ({"url": "d", "source": "c", "uri": ""}, "c"),
        ({"url": 5}, "5"),
        ({"page": 1}, None),
        ({}, None),
    ],
)
def test_the_uri_of_a_document_is_the_first_of_its_metadata_keys(metadata: dict, uri: str) -> None:
    assert doc_uri_of(metadata) == uri


MESSAGES = [{"role": "user", "content": "q"}]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("q", "q"),
        (MESSAGES, MESSAGES),
        ({"messages": MESSAGES}, {"messages": MESSAGES}),
        ([HumanMessage("q")], MESSAGES),
        ({"messages": [HumanMessage("q")]}, {"messages": MESSAGES}),
        ({"query": "q", "history": MESSAGES}, {"query": "q", "history": MESSAGES}),
        ({"question": "q", "k": 3}, {"question": "q", "k": 3}),
        (5, 5),
    ],
)
def test_every_documented_form_of_a_request_is_accepted(given: Any, expected: Any) -> None:
    assert EvalRecord.from_row({"request": given}).request == expected
    assert EvalRecord.from_row({"inputs": given}).request == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("a", "a"),
        (AIMessage("a"), {"role": "assistant", "content": "a"}),
        ({"messages": [AIMessage("a")]}, {"messages": [{"role": "assistant", "content": "a"}]}),
        ({"content": "a"}, {"content": "a"}),
        (["a"], ["a"]),
    ],
)
def test_every_documented_form_of_a_response_is_accepted(given: Any, expected: Any) -> None:
    assert EvalRecord.from_row({"request": "q", "response": given}).response == expected
    assert EvalRecord.from_row({"inputs": "q", "outputs": given}).response == expected


def test_a_langchain_message_and_its_dict_are_the_same_request() -> None:
    assert record_key([HumanMessage("q")]) == record_key(MESSAGES)


def test_columns_that_a_warehouse_stores_as_json_are_parsed() -> None:
    record = EvalRecord.from_row(
        {
            "inputs": '{"question": "q"}',
            "expectations": '{"expected_response": "e", "guidelines": {"tone": ["kind"]}}',
            "retrieved_context": '[{"doc_uri": "d", "content": "c"}]',
        }
    )
    assert record.request == {"question": "q"}
    assert record.expected_response == "e"
    assert record.guidelines == {"tone": ["kind"]}
    assert record.retrieved_context == [{"doc_uri": "d", "content": "c"}]


def test_a_column_overrides_the_expectation_of_the_same_name() -> None:
    row = {"inputs": "q", "expected_response": "a", "expectations": {"expected_response": "b"}}
    assert EvalRecord.from_row(row).expected_response == "a"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({}, r"Row 7, column 'request'"),
        ({"request": None}, r"column 'request'.*got none"),
        ({"request": "q", "inputs": "q"}, "only one of 'inputs' and 'request'"),
        ({"request": "q", "response": "a", "outputs": "a"}, "only one of 'outputs' and 'response'"),
        ({"request": "q", "request_id": 5}, r"column 'request_id'.*a string, got int 5"),
        ({"request": "q", "expected_facts": "f"}, r"column 'expected_facts'.*list.*got str 'f'"),
        (
            {"request": "q", "expected_facts": [1]},
            r"column 'expected_facts'.*list of strings, got list",
        ),
        ({"request": "q", "expected_response": 5}, r"column 'expected_response'.*got int 5"),
        ({"request": "q", "expectations": "e"}, r"column 'expectations'.*dict"),
        ({"inputs": "q", "expectations": {"expected_facts": "f"}}, r"column 'expected_facts'"),
        ({"request": "q", "guidelines": {"tone": "kind"}}, r"column 'guidelines'.*by name"),
        ({"request": "q", "metadata": 1}, r"column 'metadata'.*dict"),
        ({"request": "q", "retrieved_context": [{"content": 1}]}, r"column 'retrieved_context'"),
        ({"request": "q", "expected_retrieved_context": ["a"]}, "column 'expected_retrieved_con"),
        ({"request": "q", "expected_retrieved_context": [{"content": "c"}]}, "with a 'doc_uri'"),
    ],
)
def test_the_error_of_an_invalid_row_names_row_column_and_expected_type(
    row: dict, message: str
) -> None:
    with pytest.raises(SchemaError, match=message):
        EvalRecord.from_row(row, 7)


def test_an_invalid_row_does_not_affect_the_others() -> None:
    dataset = EvalDataset.load([{"request": "a"}, {"no": "request"}, 5, {"request": "b"}])
    records, errors = list(dataset), dataset.errors
    assert [r.request for r in records] == ["a", "b"]
    assert len(errors) == 2


def test_missing_cells_of_a_frame_are_absent_values() -> None:
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
