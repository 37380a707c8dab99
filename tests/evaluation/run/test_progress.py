"""The progress bar."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading

import pytest

from langchain_dbx_eval.evaluation.run.progress import show_progress


def run_three_rows():
    with show_progress(total=5, done=2) as on_row:
        on_row(failed=False, tokens=7)
        on_row(failed=True, tokens=None)
        on_row(failed=False, tokens=5, has_scorer_errors=True)


def read_terminal(reader, output):
    """Read until the terminal is closed: then Linux raises EIO, macOS returns nothing."""
    with contextlib.suppress(OSError):
        while part := os.read(reader, 100_000):
            output.append(part)


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_a_terminal_shows_rows_failures_and_tokens(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    for name in ("NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    reader, writer = os.openpty()
    # Read in a thread: the terminal's buffer is limited, and a read returns part of its content.
    output: list[bytes] = []
    reading = threading.Thread(target=read_terminal, args=(reader, output))
    reading.start()
    with os.fdopen(writer, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        run_three_rows()
    reading.join(timeout=60)
    os.close(reader)

    text = b"".join(output).decode()
    assert "5/5" in text
    assert "1 failed" in text
    assert "1 with scorer errors" in text
    assert "12 tokens" in text


def test_a_file_receives_no_progress_bar(monkeypatch):
    file = io.StringIO()
    monkeypatch.setattr(sys, "stderr", file)
    run_three_rows()

    assert file.getvalue() == ""


def test_a_notebook_without_ipywidgets_shows_text(monkeypatch):
    file = io.StringIO()
    monkeypatch.setattr(sys, "stderr", file)
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    # As `importlib.util.find_spec` sees a package that cannot be imported.
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    run_three_rows()

    assert file.getvalue() == "Evaluating 5/5, 1 failed, 1 with scorer errors  12 tokens\n"
