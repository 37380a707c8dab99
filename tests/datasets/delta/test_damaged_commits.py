"""A table whose log was damaged is refused by name: its records are never missing silently."""

from __future__ import annotations

from pathlib import Path

import pytest
from deltalake import DeltaTable

from langchain_dbx_eval import EvalDataset, errors

NAME = "main.default.questions"
DAMAGES = {
    "empty": lambda content: b"",
    "a line break": lambda content: b"\n",
    "zeros": lambda content: bytes(len(content)),
    "cut": lambda content: content[: len(content) // 2],
}


def commit_of(path: Path, version: int) -> Path:
    return path / "_delta_log" / f"{version:020}.json"


def three_versions() -> Path:
    dataset = EvalDataset.create(NAME, [{"request": "0"}])
    for number in (1, 2):
        dataset.merge_records([{"request": str(number)}])
    assert dataset.path is not None
    return dataset.path


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("version", [0, 1, 2])
def test_a_damaged_commit_is_named_and_neither_read_nor_merged_into(
    damage: str, version: int
) -> None:
    path = three_versions()
    opened = EvalDataset.load(NAME)
    commit = commit_of(path, version)
    commit.write_bytes(DAMAGES[damage](commit.read_bytes()))
    for source in (NAME, path):
        with pytest.raises(errors.DatabricksError, match=f"{commit.name} is damaged.*backup"):
            EvalDataset.load(source)
    with pytest.raises(errors.DatabricksError, match=f"{commit.name} is damaged"):
        opened.merge_records([{"request": "new"}])
    if version:
        before = EvalDataset.load(NAME, version=version - 1)
        assert [record.request for record in before] == ["0", "1"][:version]


def test_the_advice_of_the_message_makes_the_table_readable_and_complete() -> None:
    path = three_versions()
    commit_of(path, 2).write_bytes(b"")
    with pytest.raises(errors.DatabricksError, match=r'file by \{"commitInfo":\{\}\}'):
        EvalDataset.load(NAME)
    commit_of(path, 2).write_text('{"commitInfo":{}}')
    dataset = EvalDataset.load(NAME).merge_records([{"request": "2"}])
    assert sorted(record.request for record in dataset) == ["0", "1", "2"]


def test_a_checkpoint_replaces_the_commits_before_it() -> None:
    path = three_versions()
    DeltaTable(path).create_checkpoint()
    commit_of(path, 1).write_bytes(b"")
    assert len(EvalDataset.load(NAME)) == 3
    with pytest.raises(errors.DatabricksError, match="damaged"):
        EvalDataset.load(NAME, version=1)
