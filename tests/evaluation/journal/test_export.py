"""A journal is copied while another process writes to it: the copy has each saved row, once."""

from __future__ import annotations

import contextlib
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from langchain_dbx_eval import EvaluationResult, errors
from langchain_dbx_eval.cli import main
from langchain_dbx_eval.evaluation.journal.export import export_journal
from langchain_dbx_eval.evaluation.journal.manifest import EvaluationManifest
from langchain_dbx_eval.evaluation.journal.store import Journal

WORKER = Path(__file__).with_name("writing_worker.py")


@pytest.fixture
def worker() -> Iterator[subprocess.Popen[str]]:
    """A process that saves rows until it is killed."""
    command = [sys.executable, WORKER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def saved_after(process: subprocess.Popen[str], more: int) -> int:
    """Wait until the process has saved more rows, and return how many it has."""
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(more)]
    return int(lines[-1])


def rows_of(copy: Path) -> int:
    """Return the number of rows of a copy, which must be complete by itself and without a gap."""
    with contextlib.closing(sqlite3.connect(f"file:{copy}?mode=ro&immutable=1", uri=True)) as file:
        assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    rows = list(Journal(copy).rows())
    assert [row.key.number for row in rows] == list(range(len(rows)))
    assert rows[-1].record.request == f"question {len(rows) - 1}"
    return len(rows)


def test_each_copy_has_the_rows_that_were_saved_before_it(
    worker: subprocess.Popen[str], tmp_path: Path
) -> None:
    assert worker.stdout is not None
    journal = Path(worker.stdout.readline().strip())
    for number in range(10):
        saved = saved_after(worker, 20)
        assert rows_of(export_journal(journal, tmp_path / f"{number}.sqlite")) >= saved
        assert worker.poll() is None
    worker.kill()
    last = [int(line) for line in worker.stdout.read().split()][-1:] or [saved]
    assert main(["export", journal.stem, "--journal", str(tmp_path)]) == 0
    assert rows_of(tmp_path / journal.name) >= last[0]
    assert len(EvaluationResult.load(tmp_path / journal.name).rows) >= last[0]
    assert list(tmp_path.glob(".*.partial")) == []


def test_an_existing_file_is_not_replaced(tmp_path: Path) -> None:
    journal = Journal.create(EvaluationManifest.describe(None, []))
    (tmp_path / "copy.sqlite").write_text("mine")
    with pytest.raises(errors.AlreadyExistsError, match=r"copy\.sqlite already exists"):
        export_journal(journal.path, tmp_path / "copy.sqlite")
    assert (tmp_path / "copy.sqlite").read_text() == "mine"


def test_a_missing_evaluation_and_an_unwritable_path_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "no-such-run", "--journal", str(tmp_path)]) == 1
    assert "There is no evaluation 'no-such-run'" in capsys.readouterr().err
    (tmp_path / "file").touch()
    journal = Journal.create(EvaluationManifest.describe(None, []))
    with pytest.raises(errors.JournalError, match=r"cannot be copied to .*/file/copy\.sqlite"):
        export_journal(journal.path, tmp_path / "file" / "copy.sqlite")
