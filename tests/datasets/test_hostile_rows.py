"""Whatever a row contains is the error of that row, which is counted; the others are loaded."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

from langchain_dbx_eval import EvalDataset, EvalRecord
from langchain_dbx_eval.datasets import InvalidRow, record_key
from langchain_dbx_eval.errors import SchemaError

DEPTHS = (201, 900, 5_000)
DEEP = "the value is nested deeper than 200 levels"
# The JSON of a row, and the reason why it is invalid.
HOSTILE = {
    **{f"{depth} levels": (f'{{"inputs": {"[" * depth}{"]" * depth}}}', DEEP) for depth in DEPTHS},
    "integer": (f'{{"inputs": {{"n": {"1" * 4_301}}}}}', "an integer has more than 4,300 digits"),
    "duplicate key": ('{"inputs": {"q": 1, "q": 2}}', "the key 'q' appears more than once"),
    "duplicate column": ('{"inputs": "a", "inputs": "b"}', "the key 'inputs' appears more than"),
}
GOOD = '{"inputs": {"q": "[{\\", ok"}}'


class RaisesInText(dict):
    """A row that cannot be shown, and whose columns cannot be listed."""

    def __repr__(self) -> str:
        raise RuntimeError

    def items(self) -> Any:
        raise OverflowError("a value of the user's own class")


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


def endless() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def check(dataset: EvalDataset, reason: str) -> None:
    """Assert that the second of three rows is invalid for a reason, wherever rows are shown."""
    first, second, third = dataset.iter_rows()
    assert [type(row) for row in (first, second, third)] == [EvalRecord, InvalidRow, EvalRecord]
    [invalid] = dataset.invalid_rows
    assert (len(dataset), len(dataset.errors), invalid.index) == (2, 1, 1)
    assert reason in str(invalid.error)
    assert EvalDataset.load([invalid.to_record()]).errors == ()
    assert "1 of the first 3" in dataset._repr_html_()
    assert len(dataset.snapshot()) == len(dataset.to_df()) == 2


@pytest.mark.parametrize("suffix", [".jsonl", ".json"])
@pytest.mark.parametrize("name", HOSTILE)
def test_of_a_json_file_only_the_hostile_row_is_invalid(
    name: str, suffix: str, tmp_path: Path
) -> None:
    hostile, reason = HOSTILE[name]
    rows = [GOOD, hostile, GOOD.replace("ok", "also ok")]
    path = tmp_path / f"questions{suffix}"
    path.write_text("\n".join(rows) if suffix == ".jsonl" else f"[{', '.join(rows)}]")
    check(EvalDataset.load(path), reason)


@pytest.mark.parametrize("name", [name for name in HOSTILE if name != "duplicate column"])
def test_of_a_csv_file_only_the_row_with_the_hostile_cell_is_invalid(
    name: str, tmp_path: Path
) -> None:
    hostile, reason = HOSTILE[name]
    cells = ["{}", hostile.removeprefix('{"inputs": ').removesuffix("}"), "[1]"]
    frame = pd.DataFrame({"inputs": cells})
    frame.to_csv(tmp_path / "questions.csv", index=False)
    check(EvalDataset.load(tmp_path / "questions.csv"), reason)
    check(EvalDataset.load(frame), reason)


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ("- request: a\n  request: b", "'request' appears more than once"),
        ("- request: {q: 1, q: 2}", "'q' appears more than once"),
        (f"- request: {'1' * 4_301}", "line 2"),
        ("- request: &a [*a]", DEEP),
        ("- request: !!python/object/apply:os.system ['true']", "line 2"),
    ],
)
def test_of_a_yaml_file_only_the_hostile_item_is_invalid(
    item: str, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "questions.yaml"
    path.write_text(f"- request: a\n{item}\n- request: b\n")
    check(EvalDataset.load(path), reason)


@pytest.mark.parametrize("name", ["parquet", "delta", "frame"])
def test_of_arrows_maps_only_the_one_with_duplicate_keys_is_invalid(
    name: str, tmp_path: Path
) -> None:
    maps = [[("a", "1")], [("b", "1"), ("b", "2")], [("a", "3")]]
    type_ = pa.map_(pa.string(), pa.string())
    table = pa.table({"request": ["x", "y", "z"], "tags": pa.array(maps, type_)})
    path = tmp_path / f"questions.{name}"
    if name == "parquet":
        pq.write_table(table, path)
    elif name == "delta":
        write_deltalake(path, table)
    dataset = EvalDataset.load(table if name == "frame" else path)
    check(dataset, "duplicate key")
    assert [record.metadata["tags"] for record in dataset] == [{"a": "1"}, {"a": "3"}]


# Made by functions: pytest shows the arguments of a test.
HOSTILE_ROWS = {
    **{f"{depth} levels": lambda depth=depth: {"request": nested(depth)} for depth in DEPTHS},
    "a list in itself": lambda: {"request": endless()},
    "deep metadata": lambda: {"request": "a", "metadata": {"x": nested(5_000)}},
    "a long integer": lambda: {"request": 10**5_000},
    "a class that raises": lambda: RaisesInText(request="a"),
    "a record of wrong types": lambda: EvalRecord(request="a", expected_facts="no list"),
    "a record with deep values": lambda: EvalRecord(request="a", response=nested(5_000)),
    "a record without columns": lambda: EvalRecord(request="a", metadata="text"),
}
REASONS = {
    "a long integer": "an integer has more than 4,300 digits",
    "a class that raises": "a value of the user's own class",
    "a record of wrong types": "a list of strings",
    "a record without columns": "a dict",
}


@pytest.mark.parametrize("name", HOSTILE_ROWS)
def test_of_a_list_only_the_hostile_row_is_invalid(name: str) -> None:
    row, reason = HOSTILE_ROWS[name](), REASONS.get(name, DEEP)
    check(EvalDataset.load([{"request": "a?"}, row, {"request": "b?"}]), reason)
    with pytest.raises(SchemaError, match=reason):
        EvalDataset.create("main.default.hostile", [{"request": "a?"}, row])


def test_200_levels_are_stored_and_restored() -> None:
    row = {"request": nested(200), "response": nested(200)}
    dataset = EvalDataset.create("main.default.deep", [row])
    frame = pd.DataFrame([{"inputs": json.dumps(nested(200))}])
    for copy in (dataset, dataset.snapshot("deep.jsonl"), EvalDataset.load(frame)):
        assert [record.request for record in copy] == [row["request"]]


@pytest.mark.parametrize("make", [lambda: nested(5_000), endless, lambda: 10**5_000])
def test_the_key_of_a_hostile_request_is_a_typed_error(make: Callable[[], Any]) -> None:
    with pytest.raises(SchemaError, match="The request"):
        record_key(make())
    with pytest.raises(SchemaError, match="The request"):
        EvalRecord(request=make())


def test_a_row_of_a_table_that_was_edited_by_hand_is_one_invalid_row(
    caplog: pytest.LogCaptureFixture,
) -> None:
    dataset = EvalDataset.create("main.default.edited", [{"request": "a"}, {"request": "b"}])
    edited = pa.table({"dataset_record_id": ["x"], "inputs": ["{}"], "metadata": ["[1, 2]"]})
    write_deltalake(dataset.path, edited, mode="append", schema_mode="merge")
    loaded = EvalDataset.load("main.default.edited")
    assert sum(isinstance(row, InvalidRow) for row in loaded.iter_rows()) == 1
    assert {record.request for record in loaded} == {"a", "b"}
    assert "1 invalid rows" in caplog.text
    assert "expected a dict, got list [1, 2]" in caplog.text


@pytest.mark.parametrize("value", ["\ud83d", {"\ud83d": 1}, {"x": float("nan")}, {"x": 1e999}])
def test_a_value_that_no_store_takes_is_loaded_and_named_when_it_is_stored(value: Any) -> None:
    dataset = EvalDataset.load([{"request": "a?"}, {"request": value}])
    assert (len(dataset), len(dataset.digest)) == (2, 16)
    with pytest.raises(SchemaError, match=r"Record 1, column 'inputs'"):
        EvalDataset.create("main.default.values", dataset)
    [invalid] = EvalDataset.load([InvalidRow(0, {"request": value}, SchemaError("x"))]).invalid_rows
    assert invalid.to_record().request_id


def test_nul_is_stored_and_restored() -> None:
    [record] = EvalDataset.create("main.default.nul", [{"request": "a\0b", "request_id": "\0"}])
    assert (record.request, record.request_id) == ("a\0b", "\0")


def test_the_rows_of_a_generator_that_raises_are_not_taken_for_all_rows() -> None:
    def rows() -> Iterator[dict[str, Any]]:
        yield {"request": "a"}
        raise OSError("the file is gone")

    with pytest.raises(OSError, match="the file is gone"):
        EvalDataset.create("main.default.partial", rows())
    with pytest.raises(OSError, match="the file is gone"):
        EvalDataset.load(rows())


def test_a_file_of_hostile_json_is_read_in_linear_time(tmp_path: Path) -> None:
    # 4 MB each: an array that is never closed, quotes without an end, and brackets in strings.
    (tmp_path / "open.json").write_text('[{"inputs": "a", "inputs": "b"}, ' + "[" * 4_000_000)
    (tmp_path / "quotes.json").write_text('["' + '\\"' * 2_000_000)
    strings = json.dumps([{"request": "]}," * 1_000_000}])
    (tmp_path / "strings.json").write_text(strings[:-1] + ', {"request": 1, "request": 2}]')
    assert "row 0: the key 'inputs'" in str(EvalDataset.load(tmp_path / "open.json").errors[0])
    with pytest.raises(SchemaError, match=r"quotes\.json cannot be read as JSON"):
        list(EvalDataset.load(tmp_path / "quotes.json"))
    dataset = EvalDataset.load(tmp_path / "strings.json")
    assert (len(dataset), len(dataset.errors)) == (1, 1)
