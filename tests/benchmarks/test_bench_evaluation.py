"""``make bench-eval`` with small counts, without other packages."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

# One process runs the benchmark once for all tests.
pytestmark = pytest.mark.xdist_group("bench-evaluation")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def printed() -> str:
    command = [sys.executable, "-m", "benchmarks.evaluation", "--quick", "--peers"]
    done = subprocess.run(
        [*command, "--only", "peers"],
        cwd=ROOT,
        env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_each_number_of_rows_is_complete_in_result_and_store(printed: str) -> None:
    heads = re.findall(r"^(\d+) rows, (no-op|50 ms) ", printed, re.MULTILINE)
    lines = re.findall(r"^  langchain_dbx_eval\.evaluate +(\d+) +(\d+) ", printed, re.MULTILINE)
    assert [kind for _, kind in heads] == 3 * ["no-op"] + 3 * ["50 ms"]
    assert [(rows, rows) for rows, _ in heads] == lines


def test_only_thresholds_with_both_systems_are_reported(printed: str) -> None:
    thresholds = re.findall(r"^(?:met   |MISSED)  .*$", printed, re.MULTILINE)
    assert len(thresholds) == 2
    assert "genai" not in "".join(thresholds)
    assert thresholds[1] == (
        "met     no row of ours is missing in result or store, in 6 runs: 0 missing"
    )
