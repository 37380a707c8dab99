"""``make bench-clients`` with small counts, without other packages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

# One process runs the benchmark once for all tests.
pytestmark = pytest.mark.xdist_group("bench-clients")
ROOT = Path(__file__).parents[2]
TASKS = {"invoke", "invoke_text", "ainvoke", "stream", "batch", "embed"}


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.clients", "--quick", "--here", "--skip-imports"]
    return subprocess.run(
        [*command, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=240
    )


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    path = tmp_path_factory.mktemp("bench") / "figures.json"
    done = bench("--clients", "raw", "ours", "--json", str(path))
    assert done.returncode == 0, done.stderr
    assert "met   " in done.stdout or "MISSED" in done.stdout
    return json.loads(path.read_text(encoding="utf-8"))


def test_each_client_performs_each_task(figures: dict[str, object]) -> None:
    rows = {row["name"]: row for row in figures["rows"]}
    assert rows.keys() == TASKS
    for row in rows.values():
        assert row["failures"] == {}
        assert row["figures"].keys() == {"raw", "ours"}
        assert all(figure > 0 for rounds in row["figures"].values() for figure in rounds)


def test_only_thresholds_with_both_clients_are_reported(figures: dict[str, object]) -> None:
    measured = [(one["row"], one["reference"]) for one in figures["thresholds"]]
    assert measured == [("invoke", "raw")]


def test_a_client_that_fails_is_reported_and_the_others_are_measured() -> None:
    done = bench("--clients", "raw", "databricks-langchain")
    assert "databricks-langchain failed in invoke, chat" in done.stdout
    assert "databricks_langchain" in done.stdout
