"""The benchmark for accelerators, on a CPU with a tiny shape."""

from __future__ import annotations

import json
import runpy
import sys

import pytest

pytest.importorskip("torch", reason="torch is not installed: see scripts/install")
pytest.importorskip("transformers", reason="transformers is not installed")


def test_a_table_and_the_same_figures_as_json_are_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = "--shape tiny --device cpu --tokens 4 --prompt-words 4 --documented 1 --batches 1 3"
    monkeypatch.setattr(sys, "argv", ["gpu", *options.split()])
    runpy.run_module("benchmarks.driver.gpu", run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:4]] == ["1", "3"]
    facts = json.loads(lines[-1])
    one, three = facts["rows"]
    assert one["documented_tokens_per_second"] > 0
    assert three["documented_tokens_per_second"] is None
    assert min(three["tokens_per_second"], three["first_token_ms"], three["ratio_to_bound"]) > 0
