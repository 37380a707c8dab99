"""`make bench-clients` measures what it says: tried in tiny counts, without peers or timings."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TASKS = {"invoke", "invoke_text", "ainvoke", "stream", "batch", "embed"}


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.clients", "--quick", "--here", "--skip-imports"]
    return subprocess.run(
        [*command, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    path = tmp_path_factory.mktemp("bench") / "figures.json"
    done = bench("--clients", "raw", "ours", "--json", str(path))
    assert done.returncode == 0, done.stderr
    assert "met   " in done.stdout or "MISSED" in done.stdout
    return json.loads(path.read_text(encoding="utf-8"))


def test_each_client_does_each_task(written: dict[str, object]) -> None:
    rows = {row["name"]: row for row in written["rows"]}
    assert rows.keys() == TASKS
    for row in rows.values():
        assert row["failures"] == {}
        assert row["figures"].keys() == {"raw", "ours"}
        assert all(figure > 0 for rounds in row["figures"].values() for figure in rounds)


def test_only_bars_whose_both_sides_were_measured_are_judged(written: dict[str, object]) -> None:
    assert [(bar["row"], bar["to"]) for bar in written["bars"]] == [("invoke", "raw")]


def test_a_client_that_cannot_work_is_named_and_the_others_go_on() -> None:
    done = bench("--clients", "raw", "databricks-langchain")
    assert "databricks-langchain could not do invoke, chat" in done.stdout
    assert "databricks_langchain" in done.stdout
