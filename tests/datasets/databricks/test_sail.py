"""Delta tables of Sail, a Spark without Java: `EvalDataset` with ``backend="spark"``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given, settings

from langchain_dbx_eval import EvalDataset, errors
from langchain_dbx_eval.datasets.databricks.spark import SparkEngine
from langchain_dbx_eval.evaluation.spark import session as spark_sessions
from tests.datasets.record_strategies import FULL_TABLE
from tests.sail_sessions import stop_sail

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("sail")]

NAME = "sail.default.questions"


@pytest.fixture(scope="module")
def sail(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    pytest.importorskip("pysail", reason="the extra sail is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DBX_EVAL_HOME", str(tmp_path_factory.mktemp("sail")))
        session = spark_sessions.spark_session()
    yield session
    stop_sail()


@pytest.fixture
def dataset(sail) -> Iterator[EvalDataset]:
    yield EvalDataset.create(
        NAME,
        [
            {"inputs": {"question": "one?"}, "expectations": {"expected_response": "1"}},
            {"inputs": {"question": "한?"}, "tags": {"n": 2}},
        ],
        backend="spark",
    )
    EvalDataset.delete(NAME, backend="spark")


def _questions(dataset: EvalDataset) -> list[str]:
    return [record.request["question"] for record in dataset]


def test_a_dataset_is_created_loaded_merged_and_deleted_from(dataset, sail) -> None:
    assert (dataset.backend, len(dataset), _questions(dataset)) == ("spark", 2, ["one?", "한?"])
    loaded = EvalDataset.load(NAME)
    assert list(loaded) == list(dataset)
    assert (loaded.backend, loaded.digest) == ("spark", dataset.digest)
    moment = sail.table(NAME).collect()[0]["create_time"]
    assert abs(moment.replace(tzinfo=timezone.utc) - datetime.now(timezone.utc)).days == 0
    # Known inputs are one record; the expectations of both are kept.
    dataset.merge_records(
        [
            {"inputs": {"question": "one?"}, "expectations": {"guidelines": ["be short"]}},
            {"inputs": {"question": "it's; --"}},
        ]
    )
    assert sorted(_questions(dataset)) == sorted(["one?", "한?", "it's; --"])
    [first] = [record for record in EvalDataset.load(NAME) if record.expected_response]
    assert (first.expected_response, first.guidelines) == ("1", ["be short"])
    assert dataset.delete_records(dataset.filter(lambda r: r.expected_response == "1")) == 1
    assert sorted(_questions(EvalDataset.load(NAME))) == sorted(["한?", "it's; --"])
    assert sail.catalog.listTables() == [t for t in sail.catalog.listTables() if not t.isTemporary]


def test_each_commit_is_a_version_that_can_be_read(dataset) -> None:
    """Sail has no DESCRIBE HISTORY: a dataset is not pinned to the newest version."""
    dataset.merge_records([{"inputs": {"question": "three?"}}])
    assert dataset.version is None
    assert "without versions" in dataset.source
    sizes = [len(EvalDataset.load(NAME, version=version)) for version in (0, 1, 2)]
    assert sizes == [0, 2, 3]
    with pytest.raises(errors.DatabricksError, match="77"):
        len(EvalDataset.load(NAME, version=77))


def test_missing_and_existing_tables_are_typed_errors(dataset) -> None:
    with pytest.raises(errors.AlreadyExistsError, match=r"EvalDataset.load\('sail"):
        EvalDataset.create(NAME, backend="spark")
    for name in ("sail.default.none", "none.default.questions"):
        with pytest.raises(errors.NotFoundError):
            EvalDataset.load(name, backend="spark")
    with pytest.raises(errors.NotFoundError):
        EvalDataset.delete("sail.default.none", backend="spark")
    sail_table = SparkEngine()
    with pytest.raises(errors.NotFoundError):
        sail_table.execute("SELECT * FROM sail.default.none")


@settings(max_examples=3)
@given(given_records=FULL_TABLE)
def test_records_are_restored_unchanged(sail, given_records) -> None:
    name = "sail.default.fuzzed"
    created = EvalDataset.create(name, given_records, backend="spark")
    local = EvalDataset.create("main.default.fuzzed", given_records, backend="local")
    try:
        assert sorted(created, key=repr) == sorted(local, key=repr)
    finally:
        EvalDataset.delete(name, backend="spark")
        EvalDataset.delete("main.default.fuzzed", backend="local")
