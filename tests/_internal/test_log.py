"""Log lines that contain text of others."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from langchain_dbx_eval._internal.log import get_logger

FORGED = "2026-01-01 00:00:00 INFO forged"
HOSTILE = f"a\n{FORGED}\r{FORGED}\u2028{FORGED}\x85{FORGED} \x1b[2K\x1b[1A \x9b2K \u202etxt \ud83d"


class Log(NamedTuple):
    logger: logging.Logger
    stream: io.StringIO

    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()


@pytest.fixture
def log() -> Iterator[Log]:
    logger, stream = get_logger("test_log"), io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.propagate = False
    yield Log(logger, stream)
    logger.removeHandler(handler)


def test_a_message_is_one_line_without_control_characters(log: Log) -> None:
    log.logger.error("Path %s", HOSTILE)
    (line,) = log.lines()
    assert line.startswith(r"ERROR Path a\n2026")
    assert line.isprintable()


def test_no_line_of_a_traceback_looks_like_a_line_of_the_log(log: Log) -> None:
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        log.logger.exception("Failed")
    first, *others = log.lines()
    assert first == "ERROR Failed"
    assert all(line.startswith("  | ") and line.isprintable() for line in others)
    assert any("ValueError: a" in line for line in others)


def test_an_exception_that_cannot_be_shown_is_logged(log: Log) -> None:
    class BrokenError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    try:
        raise BrokenError
    except BrokenError:
        log.logger.exception("Failed")
    assert "BrokenError" in log.lines()[-1]


def test_text_in_any_language_is_unchanged(log: Log) -> None:
    log.logger.error("%s", "naïve 日本語 עברית 😀")
    assert log.lines() == ["ERROR naïve 日本語 עברית 😀"]
