"""The progress of an evaluation: a bar in a terminal, else a line every few seconds."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import re
import sys
import threading

import pytest

from langchain_dbx_eval import errors
from langchain_dbx_eval._internal.limiter import AdaptiveLimiter
from langchain_dbx_eval.evaluation.run import progress
from langchain_dbx_eval.evaluation.run.progress import show_progress
from tests.polling import wait_until


def used():
    return 1_234, 0.5


def limiter_after_429():
    async def reject():
        limiter = AdaptiveLimiter(8)
        limiter.on_error(errors.RateLimitError("slow down", status_code=429, retry_after=900))
        return limiter

    return asyncio.run(reject())


def run_three_rows(limiter, meanwhile=lambda: None):
    with show_progress(total=5, done=2, used=used, limiter=limiter) as on_row:
        on_row(False, False)
        on_row(True, False)
        on_row(False, True)
        meanwhile()


def read_terminal(reader, output):
    """Read until the terminal is closed: then Linux raises EIO, macOS returns nothing."""
    with contextlib.suppress(OSError):
        while part := os.read(reader, 100_000):
            output.append(part)


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
@pytest.mark.parametrize("columns", [60, 80, 120])
def test_a_terminal_shows_rows_failures_cost_and_the_wait_after_429(monkeypatch, columns):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    for name in ("NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    reader, writer = os.openpty()
    # Read in a thread: the terminal's buffer is limited, and a read returns part of its content.
    output: list[bytes] = []
    reading = threading.Thread(target=read_terminal, args=(reader, output))
    reading.start()
    with os.fdopen(writer, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        run_three_rows(limiter_after_429())
    reading.join(timeout=60)
    os.close(reader)

    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", b"".join(output).decode())
    # The last state, which stays.
    lines = text[text.rindex("Evaluating") :].split("\r\n")
    assert max(map(len, lines)) <= columns
    shown = " ".join(" ".join(lines).split())
    assert "5/5" in shown
    facts = shown.partition("5/5 ")[2].split(" · ")
    assert facts[:2] == ["1 failed", "1 with scorer errors"]
    assert re.fullmatch(r"429: waiting (900|89\d) s, then 4 at once", facts[2])
    assert facts[3:5] == ["1,234 tokens", "$0.5000"]
    assert facts[5].strip().endswith("rows/s")


def test_a_file_receives_a_line_now_and_then_and_a_last_one(monkeypatch):
    monkeypatch.setattr(progress, "_LINE_INTERVAL_S", 0.01)
    file = io.StringIO()
    monkeypatch.setattr(sys, "stderr", file)
    run_three_rows(AdaptiveLimiter(8), lambda: wait_until(lambda: file.getvalue().count("\n") > 1))

    *lines, last = file.getvalue().splitlines()
    assert all(re.match(r"Evaluating: \d of 5 rows, ", line) for line in lines)
    expected = r"Evaluating: 5 of 5 rows, 1 failed, 1 with scorer errors, 1,234 tokens, "
    assert re.fullmatch(expected + r"\$0\.5000, [\d.]+ rows/s", last), last


def test_a_file_receives_nothing_of_a_short_evaluation(monkeypatch):
    file = io.StringIO()
    monkeypatch.setattr(sys, "stderr", file)
    run_three_rows(AdaptiveLimiter(8))

    assert file.getvalue() == ""


def test_a_closed_stream_does_not_end_an_evaluation(monkeypatch):
    class Closed(io.StringIO):
        tries = 0

        def write(self, text):
            Closed.tries += 1
            raise ValueError("I/O operation on closed file")

    monkeypatch.setattr(progress, "_LINE_INTERVAL_S", 0.01)
    monkeypatch.setattr(sys, "stderr", Closed())
    run_three_rows(AdaptiveLimiter(8), lambda: wait_until(lambda: Closed.tries > 2))


def test_a_notebook_without_ipywidgets_receives_lines(monkeypatch):
    monkeypatch.setattr(progress, "_LINE_INTERVAL_S", 0.01)
    file = io.StringIO()
    monkeypatch.setattr(sys, "stderr", file)
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    # As `importlib.util.find_spec` sees a package that cannot be imported.
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    run_three_rows(AdaptiveLimiter(8), lambda: wait_until(file.getvalue))

    assert "Evaluating: 5 of 5 rows, 1 failed, 1 with scorer errors" in file.getvalue()
