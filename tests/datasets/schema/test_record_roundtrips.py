"""Each store restores any record of JSON values unchanged, or rejects it with its column."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from langchain_dbx_eval import EvalDataset, EvalRecord, errors
from langchain_dbx_eval.datasets.schema.mlflow_codec import (
    from_managed,
    from_mlflow,
    to_managed,
    to_mlflow,
)
from langchain_dbx_eval.datasets.schema.row_codec import decode, encode
from langchain_dbx_eval.datasets.schema.table_name import TableName
from langchain_dbx_eval.testing import LocalWorkspace
from tests.datasets.record_strategies import MANY, records

FEW_EXAMPLES = settings(max_examples=15)


def by_id(records: Any) -> dict[str, EvalRecord]:
    return {encode(record)["dataset_record_id"]: record for record in records}


@settings(max_examples=200)
@given(records())
def test_a_row_of_a_table_restores_its_record(record: EvalRecord) -> None:
    assert EvalRecord.from_row(decode(encode(record))) == record


@settings(max_examples=200)
@given(records())
def test_a_row_of_an_mlflow_dataset_restores_its_record(record: EvalRecord) -> None:
    row = json.loads(json.dumps(to_mlflow(record)))
    back = EvalRecord.from_row(from_mlflow(row))
    if record.response == {}:
        # In MLflow, empty outputs mean that there is no response.
        assert back.response is None
        return
    assert back == record


@settings(max_examples=200)
@given(records())
def test_a_row_of_a_managed_dataset_restores_its_record_or_is_rejected(
    record: EvalRecord,
) -> None:
    try:
        row = to_managed(record)
    except errors.SchemaError as error:
        event(str(error).partition(":")[2][:20])
        assert str(error).startswith("Record 0, ")  # noqa: PT017
        return
    # The service stores every number as a double.
    back = EvalRecord.from_row(from_managed(json.loads(json.dumps(row), parse_int=float)))
    assert back == record


@FEW_EXAMPLES
@given(MANY)
def test_the_local_catalog_restores_records_unchanged(given_records: list[EvalRecord]) -> None:
    dataset = EvalDataset.create(f"main.default.t{uuid.uuid4().hex}", given_records)
    assert list(dataset) == given_records
    assert dataset.digest == EvalDataset.load(given_records).digest


@pytest.fixture(scope="module")
def warehouse() -> Iterator[LocalWorkspace]:
    with LocalWorkspace() as running:
        running.add_warehouse("wh", chunk_rows=2)
        yield running


@settings(FEW_EXAMPLES, max_examples=5)
@given(given_records=MANY)
def test_a_warehouse_restores_records_unchanged(
    warehouse: LocalWorkspace, given_records: list[EvalRecord]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABRICKS_HOST", warehouse.url)
        patch.setenv("DATABRICKS_TOKEN", warehouse.token)
        name = f"main.default.t{uuid.uuid4().hex}"
        dataset = EvalDataset.create(name, given_records, warehouse_id="wh")
        assert by_id(dataset) == by_id(given_records)


@FEW_EXAMPLES
@given(given_records=MANY)
def test_a_file_restores_the_keys_of_records(given_records: list[EvalRecord], tmp_path) -> None:
    path = tmp_path / f"{uuid.uuid4().hex}.jsonl"
    dataset = EvalDataset.load(given_records).snapshot(path)
    assert dataset.errors == ()
    assert by_id(dataset).keys() == by_id(given_records).keys()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (math.nan, "NaN"),
        (math.inf, "NaN"),
        (datetime(2026, 1, 1, tzinfo=timezone.utc), "isoformat"),
        (b"bytes", "bytes"),
        ({1: "a"}, "string keys"),
        ((1, 2), "tuple"),
        ("\ud800", "lone surrogate"),
        ({"deep": [{"x": object()}]}, "object"),
    ],
)
@pytest.mark.parametrize("column", ["request", "response", "metadata"])
def test_a_value_that_json_cannot_restore_is_rejected_by_record_and_column(
    value: object, message: str, column: str
) -> None:
    good = EvalRecord(request="good")
    bad = EvalRecord(**{"request": "q", column: {"x": value}})
    where = {"request": "inputs", "response": "outputs"}.get(column, column)
    with pytest.raises(errors.SchemaError, match=rf"Record 1, column '{where}'") as caught:
        EvalDataset.create("main.default.q", [good, bad])
    assert message in str(caught.value)
    with pytest.raises(errors.NotFoundError):
        EvalDataset.load("main.default.q")


def test_a_nested_nan_is_rejected_and_not_read_as_absent() -> None:
    with pytest.raises(errors.SchemaError, match="NaN"):
        EvalDataset.create("main.default.q", [{"request": {"x": [math.nan]}}])


@settings(max_examples=300)
@given(st.text(max_size=20))
def test_a_parsed_name_is_restored_from_its_text(text: str) -> None:
    try:
        name = TableName.parse(text)
    except errors.ConfigurationError:
        return
    assert TableName.parse(str(name)) == name
    assert TableName.parse(name.sql) == name
