"""Datasets in the local catalog: real Delta tables under three-level names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from langchain_dbx_eval import EvalDataset, errors
from langchain_dbx_eval._internal.paths import catalog_root

NAME = "main.default.questions"
THREE = [
    {"request": "one?", "expected_response": "1"},
    {"request": "two?", "expected_response": "2"},
    {"inputs": {"question": "three?"}, "expectations": {"expected_response": "3"}},
]


def test_what_is_created_can_be_loaded_by_its_name() -> None:
    EvalDataset.create(NAME, THREE)
    loaded = EvalDataset.load(NAME)
    assert [r.expected_response for r in loaded] == ["1", "2", "3"]
    assert (loaded.name, len(loaded)) == (NAME, 3)
    assert "local catalog" in loaded.source


def test_merging_the_same_records_twice_keeps_each_once_and_writes_nothing() -> None:
    dataset = EvalDataset.create(NAME)
    dataset.merge_records(THREE)
    version, digest = dataset.version, dataset.digest
    dataset.merge_records(THREE)
    assert (len(dataset), dataset.version, dataset.digest) == (3, version, digest)


def test_expectations_of_the_same_inputs_are_merged() -> None:
    dataset = EvalDataset.create(NAME, [{"request": "q", "expected_response": "old"}])
    dataset.merge_records([{"request": "q", "expected_facts": ["f"]}])
    dataset.merge_records([{"request": "q", "expected_response": "new"}])
    [record] = dataset
    assert (record.expected_response, record.expected_facts) == ("new", ["f"])


def test_a_dataset_stays_at_the_version_that_it_was_opened_at() -> None:
    EvalDataset.create(NAME, THREE)
    before = EvalDataset.load(NAME)
    EvalDataset.load(NAME).merge_records([{"request": "four?"}])
    assert len(before) == 3
    after = EvalDataset.load(NAME)
    assert len(after) == 4
    assert after.version > before.version
    assert after.digest != before.digest


def test_merging_makes_the_dataset_itself_see_the_new_records() -> None:
    dataset = EvalDataset.create(NAME, THREE)
    digest = dataset.digest
    assert dataset.merge_records([{"request": "four?"}]) is dataset
    assert len(dataset) == 4
    assert dataset.digest != digest


def test_reading_never_writes() -> None:
    EvalDataset.create(NAME, THREE)
    files = {p: p.stat().st_mtime_ns for p in catalog_root().rglob("*") if p.is_file()}
    dataset = EvalDataset.load(NAME)
    list(dataset)
    len(dataset)
    _ = dataset.digest
    assert {p: p.stat().st_mtime_ns for p in catalog_root().rglob("*") if p.is_file()} == files


def test_a_table_that_exists_is_told() -> None:
    EvalDataset.create(NAME)
    with pytest.raises(errors.AlreadyExistsError, match="load"):
        EvalDataset.create(NAME)


def test_a_table_that_does_not_exist_is_told_with_those_that_do() -> None:
    EvalDataset.create("main.default.other")
    with pytest.raises(errors.NotFoundError, match=r"main\.default\.other"):
        EvalDataset.load(NAME)


def test_a_bad_record_creates_and_adds_nothing() -> None:
    with pytest.raises(errors.SchemaError):
        EvalDataset.create(NAME, [*THREE, {"no": "request"}])
    with pytest.raises(errors.NotFoundError):
        EvalDataset.load(NAME)
    dataset = EvalDataset.create(NAME, THREE)
    with pytest.raises(errors.SchemaError):
        dataset.merge_records([{"request": "four?"}, {"no": "request"}])
    assert len(EvalDataset.load(NAME)) == 3


def test_a_value_that_json_cannot_hold_is_refused_by_column() -> None:
    dataset = EvalDataset.create(NAME)
    with pytest.raises(errors.SchemaError, match="'inputs'"):
        dataset.merge_records([{"request": {"x": object()}}])


@pytest.mark.parametrize("source", ["questions", 5, None, "x.docx", {"a": 1}])
def test_what_is_no_dataset_is_told(source: object) -> None:
    with pytest.raises(errors.ConfigurationError, match="No dataset can be read"):
        EvalDataset.load(source)


def test_a_list_cannot_be_added_to() -> None:
    with pytest.raises(errors.ConfigurationError, match="create"):
        EvalDataset.load(THREE).merge_records(THREE)


def test_the_catalog_can_be_put_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DBX_EVAL_CATALOG", str(tmp_path / "elsewhere"))
    EvalDataset.create(NAME)
    assert (tmp_path / "elsewhere" / "main" / "default" / "questions" / "_delta_log").is_dir()


def test_the_first_version_is_told_to_mlflow_too() -> None:
    for version, dataset in enumerate(
        (EvalDataset.create(NAME), EvalDataset.load(NAME).merge_records(THREE))
    ):
        source = json.loads(dataset.mlflow_input().to_dict()["source"])
        assert source["delta_table_version"] == version
