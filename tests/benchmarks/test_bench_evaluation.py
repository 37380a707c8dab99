"""`make bench-eval` measures what it says: tried in tiny counts, without peers or timings."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def printed() -> str:
    command = [sys.executable, "-m", "benchmarks.evaluation", "--quick", "--sides"]
    done = subprocess.run(
        [*command, "--only", "peers"],
        cwd=ROOT,
        env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_each_number_of_rows_is_asked_and_kept_in_result_and_store(printed: str) -> None:
    heads = re.findall(r"^(\d+) rows, (no-op|50 ms) ", printed, re.MULTILINE)
    lines = re.findall(r"^  langchain_dbx_eval\.evaluate +(\d+) +(\d+) ", printed, re.MULTILINE)
    assert [kind for _, kind in heads] == 3 * ["no-op"] + 3 * ["50 ms"]
    assert [(rows, rows) for rows, _ in heads] == lines


def test_only_bars_whose_both_sides_were_measured_are_judged(printed: str) -> None:
    bars = re.findall(r"^bar: .*: (?:reached|missed)$", printed, re.MULTILINE)
    assert len(bars) == 2
    assert "genai" not in "".join(bars)
    assert bars[1] == (
        "bar: no row of ours is lost, from result or store, in 6 runs: 0 lost: reached"
    )
