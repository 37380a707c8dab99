"""A session: init, run, Ctrl-C, resume, list, show, compare, check, report, export."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from junitparser import JUnitXml

from langchain_dbx_eval import evaluate
from langchain_dbx_eval.cli import main
from langchain_dbx_eval.evaluation import list_evaluations
from tests.polling import wait_until

pytestmark = pytest.mark.usefixtures("mlflow_store")

# A worker of pytest may ignore SIGINT, which a subprocess inherits.
PROGRAM = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from langchain_dbx_eval.cli import main
sys.exit(main(sys.argv[1:]))
"""
# Waits in the third row until the test has interrupted it.
MODEL = """
import pathlib, time

CAPITALS = {"France": "Paris", "Korea": "Seoul", "Kenya": "Nairobi"}

def answer(model_input):
    question = model_input["messages"][-1]["content"]
    with open("calls.txt", "a") as file:
        file.write(question + "\\n")
    if "Kenya" in question:
        pathlib.Path("entered").touch()
        while not pathlib.Path("released").exists():
            time.sleep(0.01)
    return next((CAPITALS[name] for name in CAPITALS if name in question), "?")
"""


@pytest.fixture(autouse=True)
def _restored_imports() -> Iterator[None]:
    """Forget the modules of the project, and its folder in the import path."""
    before = list(sys.path)
    yield
    sys.path[:] = before
    for name in ("my_model", "slow_model", "hostile_model"):
        sys.modules.pop(name, None)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    assert main(["init", "project"]) == 0
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def test_a_session(
    project: Path, mlflow_store: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (project / "slow_model.py").write_text(MODEL)
    command = [sys.executable, "-c", PROGRAM, "run", "eval.yaml", "-m", "slow_model:answer"]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": mlflow_store}
    errors = tmp_path / "stderr.txt"
    with (
        errors.open("w") as stderr,
        subprocess.Popen(
            [*command, "--max-concurrency", "1"], env=environment, stderr=stderr, text=True
        ) as process,
    ):
        wait_until((project / "entered").exists, 120)
        process.send_signal(signal.SIGINT)
        wait_until(lambda: "the rows in flight" in errors.read_text(), 60)
        (project / "released").touch()
        assert process.wait(120) == 130
    printed = errors.read_text()
    assert "3 of 5 rows are finished" in printed
    [evaluation] = list_evaluations()
    assert f"Continue with `langchain-dbx-eval resume {evaluation.evaluation_id}`" in printed
    assert "Traceback" not in printed
    assert evaluation.state == "interrupted"

    capsys.readouterr()
    assert main(["resume", "last"]) == 0
    assert "exact_match/average" in capsys.readouterr().out
    invoked = (project / "calls.txt").read_text().splitlines()
    assert len(invoked) == len(set(invoked)) == 5  # no finished row was invoked again

    # The model of the starter answers like the slow one: nothing differs.
    assert main(["run", "eval.yaml", "--json", "--check", "exact_match >= 0.5"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["rows"]["total"] == 5
    assert values["check"]["verdict"] == "pass"
    assert values["metrics"]["response/ground_truth/exact_match/average"] == 0.6

    assert main(["list", "--limit", "1"]) == 0
    listed = capsys.readouterr()
    assert len(listed.out.splitlines()) == 2
    assert values["evaluation_id"] in listed.out
    assert "1 older: --all shows them" in listed.err

    baseline = evaluation.evaluation_id
    assert main(["compare", "last", baseline]) == 0
    assert "5 rows in common" in capsys.readouterr().out
    assert main(["compare", "last", baseline, "--json"]) == 0
    [comparison] = json.loads(capsys.readouterr().out)
    assert (comparison["baseline"], comparison["paired"], comparison["flips"]) == (baseline, 5, [])

    assert main(["check", "last", "exact_match >= 0.9"]) == 3
    assert main(["check", "last", "exact_match >= 0.5 @ lower"]) == 4
    same = "exact_match >= baseline - 0.1"
    assert main(["check", "last", same, "--baseline", baseline]) == 0

    capsys.readouterr()
    assert main(["report", "last", "--baseline", baseline, "-o", "report.html"]) == 0
    assert capsys.readouterr().out.strip() == "report.html"
    assert "What is the capital" not in capsys.readouterr().out
    assert (project / "report.html").read_text().startswith("<!doctype html>")

    assert main(["show", "last", "peru"]) == 0
    shown = capsys.readouterr().out
    assert "What is the capital of Peru?" in shown
    assert "exact_match: 0" in shown
    assert main(["show", "last", "3", "--json"]) == 0  # the number of the same row
    assert json.loads(capsys.readouterr().out)[0]["request_id"] == "peru"
    assert main(["show", "last", "k"]) == 1  # kenya, korea
    assert "2 rows begin with 'k'" in capsys.readouterr().err
    assert main(["sync", "last"]) == 0


def test_what_another_program_started_needs_its_settings_to_be_resumed(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate(data=[{"request": "a", "response": "b", "expected_response": "b"}])
    assert main(["resume", "last"]) == 1
    assert "was not started by `langchain-dbx-eval run`" in capsys.readouterr().err
    assert main(["resume", "last", "--config", "eval.yaml"]) == 1
    assert "the following changed since it started" in capsys.readouterr().err


def test_all_rows_failing_exits_with_1(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "my_model.py").write_text("def answer(model_input):\n    raise OSError('down')\n")
    assert main(["run", "eval.yaml"]) == 1
    assert "all rows failed" in capsys.readouterr().err


HOSTILE = {
    "ansi": "\x1b[31mred\x1b[0m \x9b31m",
    "nul": "a\x00b",
    "right to left": "שלום \u202egnp.exe",
    "emoji": "👩‍👩‍👧 🇫🇷 half \ud83d",
    "formula": '=HYPERLINK("http://x","y")',
    "wide formula": "＝1+1",  # noqa: RUF001
    "spaced formula": "  @SUM(A1)",
    "tab": "\t=1",
    "lines": 'first\r\nsecond "quoted", comma',
    "minus": "-1",
}


def test_hostile_texts_give_a_right_terminal_and_right_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"request_id": name, "request": text, "response": text, "expected_response": text}
        for name, text in HOSTILE.items()
    ]
    result = evaluate(data=rows)
    reference = str(result.journal)

    for command in (["show", reference, name] for name in HOSTILE):
        assert main(command) == 0
    printed = capsys.readouterr().out
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", printed)
    assert "שלום" in printed
    assert "👩" in printed
    assert r"\x1b[31mred" in printed

    assert main(["export", reference, "-o", "rows.csv"]) == 0
    with open("rows.csv", encoding="utf-8", newline="") as file:
        cells = {row["request_id"]: row["response"] for row in csv.DictReader(file, strict=True)}
    assert len(cells) == len(HOSTILE)
    for name in ("formula", "wide formula", "spaced formula", "tab", "minus"):
        assert cells[name] == f"'{HOSTILE[name]}"
    assert cells["lines"] == HOSTILE["lines"]
    assert cells["right to left"] == HOSTILE["right to left"]
    assert "\x00" not in Path("rows.csv").read_text("utf-8")

    assert main(["export", reference, "-o", "rows.jsonl"]) == 0
    lines = [json.loads(line) for line in Path("rows.jsonl").read_text("utf-8").splitlines()]
    assert [line["request_id"] for line in lines] == list(HOSTILE)
    assert lines[0]["response"] == HOSTILE["ansi"]

    assert main(["export", reference, "-o", "rows.parquet"]) == 0
    table = pq.read_table("rows.parquet").to_pylist()
    assert [row["response"] for row in table] == [line["response"] for line in lines]
    assert table[0]["response/ground_truth/exact_match"] == 1.0

    assert main(["export", reference, "-o", "rows.xml", "--condition", "exact_match > 1"]) == 0
    assert sum(len(suite) for suite in JUnitXml.fromfile("rows.xml")) == 1 + len(HOSTILE)

    assert main(["export", reference, "-o", "rows.csv"]) == 1
    assert "already exists" in capsys.readouterr().err
    assert main(["export", reference, "-o", "rows.csv", "--force"]) == 0
    assert main(["export", reference, "--format", "parquet"]) == 1
    assert "Parquet needs a file" in capsys.readouterr().err
