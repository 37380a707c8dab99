"""Frames of other libraries, and MLflow's wrappers around them."""

from __future__ import annotations

import copy

import datasets as hugging_face
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from langchain_dbx_eval import EvalDataset, EvalRecord, errors

ROWS = [
    {"request": "one?", "expected_facts": ["a", "b"], "n": 1},
    {"request": "two?", "expected_facts": ["c"], "n": 2},
]


def _mlflow_pandas():
    from mlflow.data.pandas_dataset import from_pandas

    return from_pandas(pd.DataFrame(ROWS))


FRAMES = {
    "pandas": lambda: pd.DataFrame(ROWS),
    "pandas over Arrow": lambda: pd.DataFrame(ROWS).convert_dtypes(dtype_backend="pyarrow"),
    "polars": lambda: pl.DataFrame(ROWS),
    "polars, lazy": lambda: pl.LazyFrame(ROWS),
    "Arrow": lambda: pa.Table.from_pylist(ROWS),
    "Arrow, a stream": lambda: pa.Table.from_pylist(ROWS).to_reader(),
    "Hugging Face": lambda: hugging_face.Dataset.from_list(ROWS),
    "Hugging Face, a stream": lambda: hugging_face.Dataset.from_list(ROWS).to_iterable_dataset(),
    "MLflow": _mlflow_pandas,
    "a list": lambda: ROWS,
    "a generator": lambda: (row for row in ROWS),
}


@pytest.mark.parametrize("make", FRAMES.values(), ids=FRAMES)
def test_each_frame_gives_the_same_records_twice(make) -> None:
    dataset = EvalDataset.load(make())
    expected = [("one?", ["a", "b"], {"n": 1}), ("two?", ["c"], {"n": 2})]
    for _ in range(2):
        assert [(r.request, r.expected_facts, r.metadata) for r in dataset] == expected
    assert len(dataset) == 2
    assert dataset.digest == EvalDataset.load(ROWS).digest


@pytest.mark.parametrize("kind", ["pandas", "polars", "Arrow"])
def test_a_frame_tells_its_columns(kind: str) -> None:
    assert list(EvalDataset.load(FRAMES[kind]()).schema) == ["request", "expected_facts", "n"]


def test_of_a_dict_of_sets_one_must_be_chosen() -> None:
    several = hugging_face.DatasetDict({"train": FRAMES["Hugging Face"]()})
    with pytest.raises(errors.ConfigurationError, match="train"):
        EvalDataset.load(several)


def test_a_list_that_is_changed_later_does_not_change_the_dataset() -> None:
    rows = [{"request": "a"}]
    dataset = EvalDataset.load(rows)
    rows.append({"request": "b"})
    assert len(dataset) == 1


def test_a_frame_with_nested_columns_can_be_stored() -> None:
    frame = pd.DataFrame(
        [{"inputs": {"messages": [{"role": "user", "content": "hi"}]}, "score": float("nan")}]
    )
    dataset = EvalDataset.create("main.default.q", EvalDataset.load(frame))
    [record] = dataset
    assert record.request == {"messages": [{"role": "user", "content": "hi"}]}


def _as_it_was(given):
    """What can be compared of a frame: values, columns, types, index and order."""
    if isinstance(given, pd.DataFrame):
        return given.to_dict("split"), dict(given.dtypes), dict(given.attrs)
    if isinstance(given, pl.DataFrame):
        return given.to_dicts(), given.schema
    if isinstance(given, pa.Table):
        return given.to_pylist(), given.schema
    if isinstance(given, hugging_face.Dataset):
        return given.to_list(), given.features, given._fingerprint
    return copy.deepcopy(given)


@pytest.mark.parametrize(
    "kind", ["pandas", "pandas over Arrow", "polars", "Arrow", "Hugging Face", "a list"]
)
def test_reading_leaves_what_was_given_as_it_was(kind: str, files, tmp_path) -> None:
    given = FRAMES[kind]()
    before, lying = _as_it_was(given), files(tmp_path)
    dataset = EvalDataset.load(given)
    for record in dataset:
        record.metadata["mine"] = 1
        record.expected_facts.append("mine")
    assert (len(dataset), len(dataset.digest), dataset.errors) == (2, 16, ())
    list(dataset.sample(1))
    frame = dataset.to_pandas()
    frame["mine"] = 1
    EvalDataset.create("main.default.q", dataset).merge_records(given if kind == "a list" else [])
    assert _as_it_was(given) == before
    assert {path for path in files(tmp_path) if "dbx-eval" not in path.parts} == set(lying)
    if kind == "a list":
        assert given == ROWS


def test_records_and_rows_of_both_vocabularies_stay_as_they_were() -> None:
    messages = [{"role": "user", "content": "hi"}]
    rows = [
        {"inputs": {"messages": messages}, "expectations": {"expected_facts": ["f"], "own": [1]}},
        {"request": messages, "tags": {"a": "b"}, "metadata": {"deep": {"x": [1]}}},
        EvalRecord(request={"x": [1]}, metadata={"tags": {"a": "b"}}),
    ]
    before = copy.deepcopy(rows)
    dataset = EvalDataset.create("main.default.q", rows)
    for _ in range(2):
        dataset.merge_records(rows)
    for record in EvalDataset.load(rows):
        assert record.inputs is not None
        assert record.expectations is not None
    assert rows == before
