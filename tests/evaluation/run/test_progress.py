"""The bar that a person sees while rows are done, and nobody else."""

from __future__ import annotations

import io
import os
import sys

import pytest

from langchain_dbx_eval.evaluation.run.progress import showing_progress


def run_three_rows():
    with showing_progress(total=5, done=2) as tell:
        tell(failed=False, tokens=7)
        tell(failed=True, tokens=None)
        tell(failed=False, tokens=5)


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="a terminal is made for it")
def test_a_terminal_shows_rows_failures_and_tokens(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    for name in ("NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    reader, writer = os.openpty()
    with os.fdopen(writer, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        run_three_rows()
        terminal.flush()
        shown = os.read(reader, 100_000).decode()
    os.close(reader)

    assert "5/5" in shown
    assert "1 failed" in shown
    assert "12 tokens" in shown


def test_a_file_shows_nothing(monkeypatch):
    file = io.StringIO()
    monkeypatch.setattr(sys, "stderr", file)
    run_three_rows()

    assert file.getvalue() == ""
