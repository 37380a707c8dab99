"""Concurrent and killed writers of one table in the local catalog."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from langchain_dbx_eval import EvalDataset, errors
from langchain_dbx_eval.datasets.delta import local_catalog, reader

NAME = "main.default.questions"
WORKER = Path(__file__).parent / "merging_worker.py"


def run_worker(worker: str, count: int, kills: int, seed: int) -> Iterator[str]:
    """Merge `count` records in a process that is killed and restarted `kills` times."""
    done = 0
    chance = random.Random(seed)
    while done < count:
        kill_after = chance.randrange(3) if kills > 0 else None
        command = [sys.executable, str(WORKER), NAME, worker, str(done), str(count)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout:
                done = int(line) + 1
                yield f"{worker}-{line.strip()}"
                if kill_after == 0:
                    process.kill()
                    kills -= 1
                    break
                kill_after = None if kill_after is None else kill_after - 1
        if kills == 0 and kill_after is None:
            assert process.returncode == 0


@pytest.mark.parametrize(
    ("processes", "merges", "kills"),
    [
        (3, 5, 2),
        pytest.param(
            8,
            50,
            20,
            marks=[
                pytest.mark.skipif("DBX_EVAL_ALL_CRASHES" not in os.environ, reason="minutes"),
                pytest.mark.timeout(600),
            ],
        ),
    ],
)
def test_every_acknowledged_record_is_stored_once_when_writers_are_killed(
    processes: int, merges: int, kills: int
) -> None:
    EvalDataset.create(NAME)
    kills_of = [kills // processes + (n < kills % processes) for n in range(processes)]

    def run(number: int) -> list[str]:
        return list(run_worker(f"p{number}", merges, kills_of[number], seed=number))

    with ThreadPoolExecutor(processes) as pool:
        acknowledged = [key for keys in pool.map(run, range(processes)) for key in keys]
    requests = [record.request for record in EvalDataset.load(NAME)]
    assert len(requests) == len(set(requests)) == processes * merges
    assert set(acknowledged) <= set(requests)


def test_conflicting_commits_are_merged_again_where_the_lock_has_no_effect(monkeypatch) -> None:
    """Two writers read the same version: the second commit fails, and is repeated."""
    dataset = EvalDataset.create(NAME)
    commit = local_catalog._commit
    rival = [{"request": "same", "expected_facts": ["rival's"]}]

    def commit_after_rival(table, data, *, append):
        monkeypatch.setattr(local_catalog, "_commit", commit)
        monkeypatch.setattr(local_catalog, "table_lock", local_catalog.storage_errors)
        EvalDataset.load(NAME).merge_records(rival)
        commit(table, data, append=append)

    monkeypatch.setattr(local_catalog, "_commit", commit_after_rival)
    dataset.merge_records([{"request": "same", "expected_response": "ours"}])
    [record] = EvalDataset.load(NAME)
    assert (record.expected_response, record.expected_facts) == ("ours", ["rival's"])


def test_records_are_read_in_order_in_any_number_of_windows(monkeypatch) -> None:
    monkeypatch.setattr(reader, "_WINDOW_ROWS", 7)
    dataset = EvalDataset.create(NAME, [{"request": f"q{n}"} for n in range(30)])
    dataset.merge_records([{"request": "q3", "expected_response": "late"}, {"request": "q30"}])
    assert [record.request for record in dataset] == [f"q{n}" for n in range(31)]
    assert len(dataset) == 31


def test_small_files_are_compacted_and_old_versions_stay_readable(monkeypatch) -> None:
    monkeypatch.setattr(local_catalog, "_MAX_FILES", 3)
    dataset = EvalDataset.create(NAME)
    for number in range(8):
        dataset.merge_records([{"request": f"q{number}"}])
    old = EvalDataset.load(NAME, version=2)
    assert (len(list(old)), len(list(dataset))) == (2, 8)
    table = EvalDataset.load(NAME)._opened.table
    assert len(table.file_uris()) <= 4


def test_a_version_whose_files_were_vacuumed_raises(three) -> None:
    dataset = EvalDataset.create(NAME, three)
    dataset.merge_records([{"request": "one?", "expected_response": "changed"}])
    table = EvalDataset.load(NAME)._opened.table
    table.vacuum(0, dry_run=False, enforce_retention_duration=False)
    old = EvalDataset.load(NAME, version=0)
    with pytest.raises(errors.NotFoundError, match="vacuumed"):
        list(old)
    with pytest.raises(errors.NotFoundError, match="version 9"):
        EvalDataset.load(NAME, version=9)
    with pytest.raises(errors.ConfigurationError, match="-1"):
        EvalDataset.load(NAME, version=-1)


def test_a_table_with_another_schema_is_read_but_not_merged_into(files) -> None:
    import pyarrow as pa
    from deltalake import write_deltalake

    from langchain_dbx_eval._internal.paths import catalog_root

    write_deltalake(catalog_root() / "main" / "default" / "questions", pa.table({"request": ["a"]}))
    before = files()
    dataset = EvalDataset.load(NAME)
    assert [record.request for record in dataset] == ["a"]
    with pytest.raises(errors.SchemaError, match="another schema"):
        dataset.merge_records([{"request": "b"}])
    assert {path for path in files() if ".lock" not in path.name} == set(before)
