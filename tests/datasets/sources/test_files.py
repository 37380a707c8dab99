"""Files of records in each format; errors name the file and the line."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

from langchain_dbx_eval import EvalDataset, errors

ROWS = [
    {"request": "한?", "expected_response": "1", "expected_facts": ["a", "b"]},
    {"request": "two?", "expected_response": "2", "expected_facts": None},
]


def _write(path: Path) -> None:
    if path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in ROWS) + "\n\n", encoding="utf-8")
    elif path.suffix == ".json":
        path.write_text(json.dumps(ROWS), encoding="utf-8")
    elif path.suffix == ".csv":
        text = 'request,expected_response,expected_facts\n한?,1,"[""a"", ""b""]"\ntwo?,2,\n'
        path.write_text(text, encoding="utf-8-sig")
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    elif path.suffix == ".yaml":
        text = "- {request: '한?', expected_response: '1', expected_facts: [a, b]}\n"
        path.write_text(text + "- request: two?\n  expected_response: '2'\n", encoding="utf-8")
    else:
        write_deltalake(path, pa.Table.from_pylist(ROWS))


@pytest.mark.parametrize("name", ["q.jsonl", "q.json", "q.csv", "q.parquet", "q.yaml", "delta"])
def test_each_format_results_in_the_same_records_and_is_not_modified(
    name: str, tmp_path: Path, files
) -> None:
    _write(tmp_path / name)
    before = files(tmp_path)
    dataset = EvalDataset.load(str(tmp_path / name))
    assert [(r.request, r.expected_response, r.expected_facts) for r in dataset] == [
        ("한?", "1", ["a", "b"]),
        ("two?", "2", None),
    ]
    assert dataset.errors == ()
    assert dataset.digest == EvalDataset.load(ROWS).digest
    assert files(tmp_path) == before


def test_a_delta_folder_is_read_at_the_given_version(tmp_path: Path) -> None:
    write_deltalake(tmp_path / "t", pa.table({"request": ["old"]}))
    write_deltalake(tmp_path / "t", pa.table({"request": ["new"]}), mode="append")
    old = EvalDataset.load(tmp_path / "t", version=0)
    assert ([r.request for r in old], old.version, old.backend) == (["old"], 0, "delta")
    assert len(EvalDataset.load(tmp_path / "t")) == 2


def test_a_missing_version_raises(tmp_path: Path) -> None:
    write_deltalake(tmp_path / "t", pa.table({"request": ["old"]}))
    with pytest.raises(errors.NotFoundError, match="version 7"):
        EvalDataset.load(tmp_path / "t", version=7)


def test_an_invalid_line_is_an_error_with_its_number_and_does_not_affect_the_others(
    tmp_path: Path,
) -> None:
    path = tmp_path / "q.jsonl"
    path.write_bytes(b'{"request": "a"}\n{"request": \n\xff\xfe\n{"no": 1}\n{"request": "b"}\n')
    dataset = EvalDataset.load(path)
    assert [record.request for record in dataset] == ["a", "b"]
    messages = [str(error) for error in dataset.errors]
    assert "line 2" in messages[0]
    assert "line 3" in messages[1]
    assert "'request'" in messages[2]


def test_a_csv_line_with_too_many_or_too_few_cells_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "q.csv"
    path.write_text("request,expected_response\na,1\nb\nc,1,2\n")
    dataset = EvalDataset.load(path)
    assert [record.request for record in dataset] == ["a"]
    assert ["line 3" in str(dataset.errors[0]), "line 4" in str(dataset.errors[1])] == [True, True]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("q.json", b"{"),
        ("q.json", b'{"request": "a"}'),
        ("q.yaml", b"- [unclosed"),
        ("q.yaml", b"!!python/object/apply:os.system ['true']"),
        ("q.parquet", b"no parquet"),
        ("q.csv", b'request\n"unclosed'),
    ],
)
def test_a_corrupt_file_raises_with_its_name(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(errors.SchemaError, match=rf"q\.{name[2:]}"):
        list(EvalDataset.load(tmp_path / name))


def test_a_missing_file_raises() -> None:
    with pytest.raises(errors.NotFoundError, match=r"no file .*q\.jsonl"):
        EvalDataset.load("a.b/q.jsonl")


def test_an_unsupported_format_raises_with_the_supported_ones(tmp_path: Path) -> None:
    (tmp_path / "q.xlsx").write_bytes(b"")
    with pytest.raises(errors.ConfigurationError, match=r"\.jsonl"):
        EvalDataset.load(tmp_path / "q.xlsx")


def test_yaml_is_read_by_version_1_2_of_its_specification(tmp_path: Path) -> None:
    path = tmp_path / "q.yml"
    path.write_text("- {request: 'is it?', expected_response: no, at: 2026-11-21, zip: 0123, n: 5}")
    [record] = EvalDataset.load(path)
    assert record.expected_response == "no"
    assert record.metadata == {"at": "2026-11-21", "zip": "0123", "n": 5}


def test_the_template_can_be_loaded_and_does_not_overwrite_a_file(tmp_path: Path) -> None:
    path = EvalDataset.export_template(tmp_path / "new" / "questions.yaml")
    dataset = EvalDataset.load(path)
    assert (len(dataset), dataset.errors) == (3, ())
    path.write_text("- request: mine")
    with pytest.raises(errors.AlreadyExistsError):
        EvalDataset.export_template(path)
    assert path.read_text() == "- request: mine"
