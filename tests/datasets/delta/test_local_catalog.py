"""Datasets in the local catalog: Delta tables with three-level names."""

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


def test_a_created_dataset_is_loaded_by_its_name() -> None:
    EvalDataset.create(NAME, THREE)
    loaded = EvalDataset.load(NAME)
    assert [r.expected_response for r in loaded] == ["1", "2", "3"]
    assert (loaded.name, len(loaded)) == (NAME, 3)
    assert "local catalog" in loaded.source


def test_merging_the_same_records_again_writes_nothing() -> None:
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


def test_a_dataset_stays_at_the_version_at_which_it_was_opened() -> None:
    EvalDataset.create(NAME, THREE)
    before = EvalDataset.load(NAME)
    EvalDataset.load(NAME).merge_records([{"request": "four?"}])
    assert len(before) == 3
    after = EvalDataset.load(NAME)
    assert len(after) == 4
    assert after.version > before.version
    assert after.digest != before.digest


def test_an_earlier_version_has_the_time_of_its_own_commit() -> None:
    dataset = EvalDataset.create(NAME, THREE[:1])
    created = dataset.last_update_time
    for record in THREE[1:]:
        dataset.merge_records([record])
    assert EvalDataset.load(NAME, version=0).last_update_time == created
    assert dataset.last_update_time > created


def test_merging_moves_the_dataset_to_the_new_version() -> None:
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


def test_creating_an_existing_table_raises() -> None:
    EvalDataset.create(NAME)
    with pytest.raises(errors.AlreadyExistsError, match="load"):
        EvalDataset.create(NAME)


def test_a_missing_table_raises_with_the_existing_ones() -> None:
    EvalDataset.create("main.default.other")
    with pytest.raises(errors.NotFoundError, match=r"main\.default\.other"):
        EvalDataset.load(NAME)


def test_an_invalid_record_creates_and_merges_nothing() -> None:
    with pytest.raises(errors.SchemaError):
        EvalDataset.create(NAME, [*THREE, {"no": "request"}])
    with pytest.raises(errors.NotFoundError):
        EvalDataset.load(NAME)
    dataset = EvalDataset.create(NAME, THREE)
    with pytest.raises(errors.SchemaError):
        dataset.merge_records([{"request": "four?"}, {"no": "request"}])
    assert len(EvalDataset.load(NAME)) == 3


def test_a_value_that_is_not_json_is_rejected_by_column() -> None:
    dataset = EvalDataset.create(NAME)
    with pytest.raises(errors.SchemaError, match="'inputs'"):
        dataset.merge_records([{"request": {"x": object()}}])


@pytest.mark.parametrize("source", ["questions", 5, "x.docx", {"a": 1}])
def test_an_unsupported_source_raises(source: object) -> None:
    with pytest.raises(errors.ConfigurationError, match="No dataset can be read"):
        EvalDataset.load(source)


def test_merging_into_a_list_raises() -> None:
    with pytest.raises(errors.ConfigurationError, match="create"):
        EvalDataset.load(THREE).merge_records(THREE)


def test_an_environment_variable_sets_the_folder_of_the_catalog(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DBX_EVAL_CATALOG", str(tmp_path / "elsewhere"))
    EvalDataset.create(NAME)
    assert (tmp_path / "elsewhere" / "main" / "default" / "questions" / "_delta_log").is_dir()


def test_the_source_for_mlflow_contains_every_version() -> None:
    for version, dataset in enumerate(
        (EvalDataset.create(NAME), EvalDataset.load(NAME).merge_records(THREE))
    ):
        source = json.loads(dataset.mlflow_input().to_dict()["source"])
        assert source["delta_table_version"] == version
