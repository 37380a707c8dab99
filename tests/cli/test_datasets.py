"""`datasets`, on the local catalog."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from langchain_dbx_eval.cli import main
from langchain_dbx_eval.cli.app import app
from langchain_dbx_eval.datasets import EvalDataset

NAME = "main.default.questions"


@pytest.fixture
def questions(tmp_path: Path) -> str:
    path = tmp_path / "questions.jsonl"
    rows = [{"request": f"{n}?", "expected_response": str(n)} for n in range(3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_the_life_of_a_dataset(questions: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets", "list"]) == 0
    assert "There is no dataset in" in capsys.readouterr().err
    assert main(["datasets", "create", NAME, questions]) == 0
    assert f"EvalDataset({NAME}, version 0: 3 records" in capsys.readouterr().out
    assert main(["datasets", "create", NAME]) == 1
    assert "already exists" in capsys.readouterr().err

    more = Path("more.csv")
    more.write_text("request,expected_response\n2?,two\n3?,3\n")
    assert main(["datasets", "merge", NAME, str(more)]) == 0
    assert "4 records" in capsys.readouterr().out
    assert main(["datasets", "list", "--json"]) == 0
    [listed] = json.loads(capsys.readouterr().out)
    assert (listed["name"], listed["records"], listed["version"]) == (NAME, 4, 1)
    assert main(["datasets", "list"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:3] == [NAME, "4", "1"]

    assert main(["datasets", "show", NAME, "--version", "0", "--records", "1"]) == 0
    shown = capsys.readouterr().out
    assert "records: 3" in shown
    assert shown.count("?") == 1
    assert main(["datasets", "export", NAME]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    for file in ("copy.jsonl", "copy.csv", "copy.parquet"):
        assert main(["datasets", "export", NAME, file]) == 0
        assert EvalDataset.load(file).digest == EvalDataset.load(NAME).digest

    done = CliRunner().invoke(app, ["datasets", "delete", NAME], input="n\n")
    assert "Delete main.default.questions with 4 records?" in done.output
    assert done.exit_code == 1
    assert main(["datasets", "delete", NAME, "--yes"]) == 0
    assert main(["datasets", "show", NAME]) == 1


def test_invalid_rows_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    Path("q.jsonl").write_text('{"request": "a"}\n{"expected_response": "b"}\n')
    assert main(["datasets", "show", "q.jsonl"]) == 0
    shown = capsys.readouterr().out
    assert "invalid_rows: 1" in shown
    assert "invalid: " in shown
