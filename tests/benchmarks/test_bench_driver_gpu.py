"""The benchmark for accelerators runs from end to end, on a CPU and a tiny shape."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed: scripts/install says how it gets it")
pytest.importorskip("transformers", reason="transformers is not installed")

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "driver_gpu.py"


def test_it_prints_a_table_and_the_same_as_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "--shape tiny --device cpu --tokens 4 --prompt-words 4 --snippet 1 --batches 1 3"
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *words.split()])
    monkeypatch.setattr(sys, "path", [*sys.path])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:4]] == ["1", "3"]
    facts = json.loads(lines[-1])
    one, three = facts["rows"]
    assert one["snippet_tokens_per_second"] > 0
    assert three["snippet_tokens_per_second"] is None
    assert min(three["tokens_per_second"], three["first_token_ms"], three["of_floor"]) > 0
