"""`create` and `merge_records` accept what `load` accepts."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from langchain_dbx_eval import EvalDataset, errors
from tests.datasets.sources.test_frames import FRAMES, ROWS

NAME = "main.default.questions"


@pytest.mark.parametrize("make", FRAMES.values(), ids=FRAMES)
def test_each_frame_is_merged_and_created(make) -> None:
    merged = EvalDataset.create(NAME).merge_records(make())
    created = EvalDataset.create("main.default.created", make())
    assert merged.digest == created.digest == EvalDataset.load(ROWS).digest


def test_a_frame_is_merged_into_each_store(store) -> None:
    frame = pd.DataFrame([{"inputs": {"q": "one?"}}, {"inputs": {"q": "two?"}}])
    dataset = store.create(frame)
    assert len(dataset.merge_records(frame)) == len(store.load()) == 2


def test_a_file_and_a_table_are_merged(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    EvalDataset.load(ROWS).snapshot(path)
    dataset = EvalDataset.create(NAME, str(path))
    assert len(dataset) == 2
    assert EvalDataset.create("main.default.copy", NAME).digest == dataset.digest


def test_any_iterable_is_merged() -> None:
    by_name = {"one": ROWS[0], "two": ROWS[1]}
    assert len(EvalDataset.create(NAME, by_name.values())) == 2
    assert len(EvalDataset.create("main.default.mapped", map(dict, ROWS))) == 2


@pytest.mark.parametrize("records", [ROWS[0], 5, "no such thing", None])
def test_a_value_that_load_rejects_raises_and_nothing_is_created(records) -> None:
    with pytest.raises(errors.ConfigurationError):
        EvalDataset.create(NAME, records)
    with pytest.raises(errors.NotFoundError):
        EvalDataset.load(NAME)


def test_a_dataset_with_an_invalid_row_is_rejected_as_its_rows_are() -> None:
    dataset = EvalDataset.load([*ROWS, {"question": "which column?"}])
    with pytest.raises(errors.SchemaError, match="Row 2, column 'request'"):
        EvalDataset.create(NAME, dataset)
    valid = dataset.filter(lambda record: True)
    assert len(EvalDataset.create(NAME, valid)) == 2


def test_the_frame_of_a_dataset_is_loaded_unchanged() -> None:
    rows = [
        {
            "request_id": "7",
            "inputs": {"question": "one?"},
            "outputs": "5",
            "expectations": {"expected_facts": ["f"], "tone": "kind"},
            "retrieved_context": [{"doc_uri": "d", "content": "c"}],
            "tags": {"topic": "t"},
            "team": "a",
        },
        {"request": "two?", "response": 5},
    ]
    dataset = EvalDataset.load(rows)
    frame = dataset.to_df()
    assert list(frame.columns)[:5] == [
        "dataset_record_id",
        "inputs",
        "outputs",
        "expectations",
        "tags",
    ]
    assert list(EvalDataset.load(frame)) == list(dataset)
    assert frame["outputs"].tolist() == ["5", 5]
    empty = EvalDataset.load([]).to_df()
    assert list(empty.columns)[:2] == ["dataset_record_id", "inputs"]


def test_the_raw_frame_of_a_table_is_decoded() -> None:
    dataset = EvalDataset.create(NAME, [{"request": "one?", "response": "5", "team": "a"}])
    frame = pd.read_parquet(dataset.path)
    assert list(EvalDataset.load(frame)) == list(dataset)
