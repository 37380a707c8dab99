"""Deletion of records and of datasets, in each store."""

from __future__ import annotations

import pytest
from mlflow.genai.datasets import create_dataset

from langchain_dbx_eval import EvalDataset, errors
from langchain_dbx_eval._internal.paths import catalog_root
from langchain_dbx_eval.testing import LocalWorkspace
from langchain_dbx_eval.testing.faults import Unavailable

THREE = [{"inputs": {"question": f"{n}?"}, "tags": {"n": n}} for n in ("one", "two", "three")]
NAME = "main.default.questions"


def questions(dataset: EvalDataset) -> set[str]:
    return {record.request["question"] for record in dataset}


def test_records_are_deleted_by_the_ids_of_the_frame(store, caplog) -> None:
    dataset = store.create(THREE)
    frame = dataset.to_df()
    ids = [row.dataset_record_id for row in frame.itertuples() if row.tags == {"n": "one"}]
    assert dataset.delete_records(ids) == 1
    assert questions(dataset) == questions(store.load()) == {"two?", "three?"}
    assert len(dataset) == 2
    assert dataset.delete_records(ids) == 0
    assert "1 of 1 records are not in" in caplog.text
    assert questions(dataset.merge_records(THREE)) == {"one?", "two?", "three?"}


def test_records_are_deleted_by_filter(store) -> None:
    dataset = store.create(THREE)
    unwanted = dataset.filter(lambda record: record.metadata["tags"]["n"] != "two")
    assert dataset.delete_records(unwanted) == 2
    assert questions(store.load()) == {"two?"}


def test_a_deleted_dataset_does_not_exist_and_can_be_created_again(store) -> None:
    store.create(THREE)
    EvalDataset.delete(store.name, **store.options)
    with pytest.raises(errors.NotFoundError):
        store.load()
    with pytest.raises(errors.NotFoundError):
        EvalDataset.delete(store.name, **store.options)
    assert questions(store.create(THREE[:1])) == {"one?"}


@pytest.mark.parametrize("ids", ["an id", [1], {"dataset_record_id": "x"}])
def test_anything_else_than_a_list_of_ids_raises(ids) -> None:
    dataset = EvalDataset.create(NAME, THREE)
    with pytest.raises(errors.ConfigurationError, match=r"to_df\(\)\['dataset_record_id'\]"):
        dataset.delete_records(ids)
    assert len(dataset) == 3


def test_deleting_from_a_list_or_a_file_raises(tmp_path) -> None:
    with pytest.raises(errors.ConfigurationError, match="Records cannot be deleted from list"):
        EvalDataset.load(THREE).delete_records([])
    path = tmp_path / "questions.jsonl"
    EvalDataset.load(THREE).snapshot(path)
    with pytest.raises(errors.ConfigurationError, match=r"cannot delete .*questions\.jsonl"):
        EvalDataset.delete(str(path))
    assert path.exists()


def test_a_record_id_of_mlflow_is_accepted(mlflow_store) -> None:
    theirs = create_dataset(name="questions")
    theirs.merge_records([{"inputs": {"question": "one?"}}, {"inputs": {"question": "two?"}}])
    [id_] = [r.dataset_record_id for r in theirs.to_df().itertuples() if "one?" in str(r.inputs)]
    dataset = EvalDataset.load("questions", backend="mlflow")
    assert dataset.delete_records([id_]) == 1
    assert questions(dataset) == {"two?"}


def test_a_table_of_others_is_neither_changed_nor_deleted() -> None:
    with LocalWorkspace() as workspace:
        workspace.add_warehouse("wh")
        workspace.add_table(NAME, [{"request": "a?", "customer": 1}])
        dataset = EvalDataset.load(NAME, warehouse_id="wh")
        with pytest.raises(errors.SchemaError, match="another schema"):
            dataset.delete_records([record.request_id for record in dataset])
        with pytest.raises(errors.SchemaError, match="another schema"):
            EvalDataset.delete(NAME, warehouse_id="wh")
        assert len(EvalDataset.load(NAME, warehouse_id="wh")) == 1


def test_one_deletion_is_one_version_and_older_ones_can_be_read() -> None:
    dataset = EvalDataset.create(NAME, ({"request": f"{n}?"} for n in range(2_000)))
    assert dataset.delete_records(dataset.sample(1_500)) == 1_500
    assert (dataset.version, len(dataset)) == (1, 500)
    assert len(EvalDataset.load(NAME, version=0)) == 2_000


def test_a_deleted_local_table_leaves_no_files() -> None:
    EvalDataset.create(NAME, THREE)
    EvalDataset.delete(NAME)
    assert [path for path in catalog_root().rglob("*") if path.suffix == ".parquet"] == []
    with pytest.raises(errors.NotFoundError, match="Existing datasets: none"):
        EvalDataset.load(NAME)


@pytest.mark.parametrize("store", ["managed"], indirect=True)
def test_a_rejected_deletion_of_a_managed_dataset_raises(store) -> None:
    pytest.importorskip("databricks.agents", reason="databricks-agents is not installed")
    with LocalWorkspace() as workspace:
        dataset = store.create(THREE)
        workspace.inject_fault(NAME, Unavailable())
        with pytest.raises(errors.ServerError, match="3 of 3 records were not deleted"):
            dataset.delete_records(dataset)
        assert dataset.delete_records(dataset) == 3
