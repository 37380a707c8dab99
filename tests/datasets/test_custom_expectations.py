"""Expectations without a field of their own stay expectations in every store."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import polars as pl
import pytest

from langchain_dbx_eval import EvalDataset, EvalRecord

ROWS = [
    {
        "inputs": {"question": "one?"},
        "expectations": {"expected_response": "1", "tone": "kind", "limits": {"words": 5}},
        "tags": {"topic": "numbers"},
        "team": "a",
    },
    {"inputs": {"question": "two?"}, "expectations": {"tool": ["search"], "cited": False}},
]
EXPECTED = {
    "one?": {"expected_response": "1", "tone": "kind", "limits": {"words": 5}},
    "two?": {"tool": ["search"], "cited": False},
}


def expectations_of(dataset: EvalDataset) -> dict[str, dict]:
    return {record.request["question"]: record.expectations for record in dataset}


def test_they_are_restored_from_each_store(store) -> None:
    dataset = store.create(ROWS)
    loaded = store.load()
    assert expectations_of(dataset) == expectations_of(loaded) == EXPECTED
    metadata = {record.request["question"]: record.metadata for record in loaded}
    assert metadata == {"one?": {"tags": {"topic": "numbers"}, "team": "a"}, "two?": {}}


def test_they_and_metadata_are_merged_by_name(store) -> None:
    dataset = store.create(ROWS)
    dataset.merge_records(
        [{"inputs": {"question": "one?"}, "expectations": {"tone": "dry"}, "owner": "b"}]
    )
    one = next(record for record in store.load() if record.request == {"question": "one?"})
    assert one.expectations == {**EXPECTED["one?"], "tone": "dry"}
    assert one.metadata == {"tags": {"topic": "numbers"}, "team": "a", "owner": "b"}


def test_an_exported_dataset_has_no_other_expectations(mlflow_store) -> None:
    exported = EvalDataset.load(ROWS).to_mlflow("questions").to_df()
    found = {row.inputs["question"]: row.expectations for row in exported.itertuples()}
    assert found == EXPECTED


def test_mlflow_frames_of_a_dataset_are_loaded_unchanged(mlflow_store) -> None:
    dataset = EvalDataset.load([{**ROWS[0], "response": "r", "request_id": "7"}, ROWS[1]])
    assert EvalDataset.load(dataset.to_mlflow("questions").to_df()).digest == dataset.digest


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_they_are_restored_from_files(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"questions{suffix}"
    if suffix == ".jsonl":
        EvalDataset.load(ROWS).snapshot(path)
    else:
        pl.DataFrame(ROWS).write_parquet(path)
    assert expectations_of(EvalDataset.load(path)) == EXPECTED


def test_the_padding_of_typed_frames_is_not_an_expectation() -> None:
    frame = pl.DataFrame(ROWS)
    assert frame["expectations"][1]["tone"] is None
    assert expectations_of(EvalDataset.load(frame)) == EXPECTED


def test_the_columns_of_agent_evaluation_are_the_same_record() -> None:
    row = {
        "request": {"question": "one?"},
        "expected_response": "1",
        "custom_expected": {"tone": "kind"},
    }
    record = EvalRecord.from_row(row)
    assert record.expectations == {"expected_response": "1", "tone": "kind"}
    assert EvalDataset.load(pd.DataFrame([record.to_row()])).digest == (
        EvalDataset.load([record]).digest
    )


def test_a_constructed_record_is_stored_as_a_parsed_one() -> None:
    record = EvalRecord(request="q", custom_expected={"tone": "kind", "absent": None})
    dataset = EvalDataset.create("main.default.questions", [record])
    assert dataset.digest == EvalDataset.load([record]).digest
    assert [r.custom_expected for r in dataset] == [{"tone": "kind"}]
