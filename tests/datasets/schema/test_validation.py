"""Invalid rows of a source, with their index and the reason."""

from __future__ import annotations

import pandas as pd
import pytest

from langchain_dbx_eval import EvalDataset
from langchain_dbx_eval.datasets import EvalRecord, InvalidRow
from langchain_dbx_eval.errors import SchemaError

ROWS = [
    {"request": "one?"},
    {"request_id": "7", "request": "two?", "expected_facts": "not a list"},
    "not a row",
    {"inputs": {"question": "three?"}},
    {"question": "which column?"},
]


def test_as_many_rows_come_out_as_go_in_and_in_their_order() -> None:
    rows = list(EvalDataset.load(ROWS).iter_rows())
    assert [type(row) for row in rows] == [
        EvalRecord,
        InvalidRow,
        InvalidRow,
        EvalRecord,
        InvalidRow,
    ]


def test_an_invalid_row_has_its_index_its_values_and_the_reason() -> None:
    dataset = EvalDataset.load(ROWS)
    assert [(row.index, row.row) for row in dataset.invalid_rows] == [
        (1, ROWS[1]),
        (2, ROWS[2]),
        (4, ROWS[4]),
    ]
    assert dataset.errors == tuple(row.error for row in dataset.invalid_rows)
    assert isinstance(dataset.errors[0], SchemaError)
    assert "Row 1, column 'expected_facts': expected a list of strings" in str(dataset.errors[0])
    assert len(dataset) == 2


def test_an_invalid_row_has_a_record_that_stands_for_it() -> None:
    first, second, third = (row.to_record() for row in EvalDataset.load(ROWS).invalid_rows)
    assert (first.request_id, first.request, first.expected_facts) == ("7", "two?", None)
    assert second.request == "not a row"
    assert third.request == {"question": "which column?"}


@pytest.mark.parametrize("row", [None, {}, {"request": None}, float("nan"), b"bytes"])
def test_the_record_of_any_value_exists(row) -> None:
    [invalid] = EvalDataset.load([row]).invalid_rows
    assert invalid.to_record().request_id


def test_the_invalid_rows_of_a_file_and_a_frame_keep_their_index(tmp_path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text('{"request": "a?"}\n{broken\n{"request": "b?"}\n{"other": 1}\n')
    assert [row.index for row in EvalDataset.load(path).invalid_rows] == [1, 3]
    frame = pd.DataFrame([{"request": "a?"}, {"request": None}])
    assert [row.index for row in EvalDataset.load(frame).invalid_rows] == [1]
