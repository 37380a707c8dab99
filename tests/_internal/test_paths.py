"""What this package stores can only be read by its user, whatever the umask of the process is."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from langchain_dbx_eval import EvalDataset, EvaluationResult, evaluate
from langchain_dbx_eval._internal.paths import expand_user
from langchain_dbx_eval.evaluation import EvaluationOptions
from langchain_dbx_eval.evaluation.journal.store import Journal
from langchain_dbx_eval.reporting.report import write_report
from tests.scoring.scripted_judge import ScriptedJudge, verdict

READABLE = stat.S_IRGRP | stat.S_IWGRP | stat.S_IROTH | stat.S_IWOTH
OPENABLE = stat.S_IXGRP | stat.S_IXOTH


@pytest.fixture
def _open_umask() -> Iterator[None]:
    """The umask with which forgotten permissions show."""
    previous = os.umask(0o022)
    yield
    os.umask(previous)


def is_private(path: Path, root: Path) -> bool:
    """Whether other users cannot read a file: by itself, or as they cannot open a folder of it."""
    folders = [folder for folder in path.parents if folder.is_relative_to(root)]
    return not path.stat().st_mode & READABLE or any(
        not folder.stat().st_mode & (READABLE | OPENABLE) for folder in folders
    )


@pytest.mark.usefixtures("_open_umask", "mlflow_store")
def test_no_other_user_can_read_what_an_evaluation_stores(tmp_path: Path) -> None:
    home = Path(os.environ["DBX_EVAL_HOME"])
    EvalDataset.create("main.default.secrets", [{"request": "q", "expected_response": "a"}])
    cache = tmp_path / "shared" / "verdicts.sqlite"
    cache.parent.mkdir()
    result = evaluate(
        lambda request: "a",
        "main.default.secrets",
        judge=ScriptedJudge(script=lambda messages: verdict("yes")),
        options=EvaluationOptions(judge_cache=cache),
    )
    report = write_report(result, tmp_path / "shared" / "report.html")

    stored = [path for path in home.rglob("*") if path.is_file()]
    assert {".sqlite", ".parquet", ".json"} <= {path.suffix for path in stored}
    assert [path for path in stored if not is_private(path, tmp_path)] == []
    journals = [*home.glob("journals/*.sqlite*"), *home.glob("journals/*.lock")]
    for path in [*journals, *cache.parent.glob("verdicts*"), report]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    for folder in (home, home / "journals", home / "catalog", home / "catalog" / "main"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder
    assert isinstance(EvaluationResult.load(result.journal), EvaluationResult)
    assert Journal.find(result.evaluation_id).path == result.journal


def test_a_tilde_before_no_user_is_part_of_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert expand_user("~/a") == Path("/home/me/a")
    assert expand_user("~no-such-user/a") == Path("~no-such-user/a")
