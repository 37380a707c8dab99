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
def test_each_frame_results_in_the_same_records_twice(make) -> None:
    dataset = EvalDataset.load(make())
    expected = [("one?", ["a", "b"], {"n": 1}), ("two?", ["c"], {"n": 2})]
    for _ in range(2):
        assert [(r.request, r.expected_facts, r.metadata) for r in dataset] == expected
    assert len(dataset) == 2
    assert dataset.digest == EvalDataset.load(ROWS).digest


@pytest.mark.parametrize("kind", ["pandas", "polars", "Arrow"])
def test_a_frame_has_a_schema(kind: str) -> None:
    assert list(EvalDataset.load(FRAMES[kind]()).schema) == ["request", "expected_facts", "n"]


def test_a_dict_of_datasets_raises_with_their_names() -> None:
    several = hugging_face.DatasetDict({"train": FRAMES["Hugging Face"]()})
    with pytest.raises(errors.ConfigurationError, match="train"):
        EvalDataset.load(several)


def test_a_later_change_to_a_list_does_not_affect_the_dataset() -> None:
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


def _content_of(source):
    """Return values, columns, types, index and order of a frame for comparison."""
    if isinstance(source, pd.DataFrame):
        return source.to_dict("split"), dict(source.dtypes), dict(source.attrs)
    if isinstance(source, pl.DataFrame):
        return source.to_dicts(), source.schema
    if isinstance(source, pa.Table):
        return source.to_pylist(), source.schema
    if isinstance(source, hugging_face.Dataset):
        return source.to_list(), source.features, source._fingerprint
    return copy.deepcopy(source)


@pytest.mark.parametrize(
    "kind", ["pandas", "pandas over Arrow", "polars", "Arrow", "Hugging Face", "a list"]
)
def test_reading_does_not_modify_the_source(kind: str, files, tmp_path) -> None:
    source = FRAMES[kind]()
    before, existing = _content_of(source), files(tmp_path)
    dataset = EvalDataset.load(source)
    for record in dataset:
        record.metadata["mine"] = 1
        record.expected_facts.append("mine")
    assert (len(dataset), len(dataset.digest), dataset.errors) == (2, 16, ())
    list(dataset.sample(1))
    frame = dataset.to_pandas()
    frame["mine"] = 1
    EvalDataset.create("main.default.q", dataset).merge_records(source if kind == "a list" else [])
    assert _content_of(source) == before
    assert {path for path in files(tmp_path) if "dbx-eval" not in path.parts} == set(existing)
    if kind == "a list":
        assert source == ROWS


def test_reading_does_not_modify_rows_and_records() -> None:
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
