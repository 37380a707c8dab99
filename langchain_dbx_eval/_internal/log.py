"""Loggers whose lines contain no secret, and cannot be forged by the text that they contain.

A request, a path or the message of an exception may contain line breaks and terminal sequences. A
line that begins like one of the log would then look like one, and an ANSI sequence could hide
others (CWE-117).
"""

from __future__ import annotations

import logging
import traceback

from langchain_dbx_eval._redaction import redact, remember_request

__all__ = ["describe_error", "escape_control", "format_traceback", "get_logger"]

_TRACEBACK_PREFIX = "  | "
_MAX_TRACEBACK = 10_000
_CONTROL = (
    *range(0x20),  # with line breaks, tab and escape
    *range(0x7F, 0xA0),
    *(0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)),  # lines, direction
)
_ESCAPES = {code: chr(code).encode("unicode_escape").decode("ascii") for code in _CONTROL}


class _CleanText(logging.Filter):
    """Redact and escape the message of a record, and indent each line of its traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = escape_control(redact(record.getMessage())), None
        if record.exc_info and record.exc_info[1] is not None:
            remember_request(record.exc_info[1])
            # The formatters of logging use this text instead of formatting the exception.
            text = redact("".join(traceback.format_exception(*record.exc_info)))
            lines = text.rstrip("\n").split("\n")
            record.exc_text = "\n".join(_TRACEBACK_PREFIX + escape_control(line) for line in lines)
        return True


_FILTER = _CleanText()


def get_logger(name: str) -> logging.Logger:
    """Return a logger that removes secrets and escapes control characters.

    In a message, line breaks are escaped too; the lines of a traceback are indented instead.

    Args:
        name: The name of the logger, which may be that of a library.
    """
    logger = logging.getLogger(name)
    logger.addFilter(_FILTER)  # no effect if it has this filter
    return logger


def describe_error(error: BaseException) -> str:
    """Return the class and the text of an exception without secrets, also if `__str__` fails."""
    remember_request(error)
    try:
        text = redact(str(error))
    except Exception:  # the code of a user
        text = "(its text cannot be read)"
    return f"{type(error).__name__}: {text}".removesuffix(": ")


def format_traceback(error: BaseException) -> str:
    """Return the traceback of an exception without secrets: at most its last 10,000 characters."""
    remember_request(error)
    text = redact("".join(traceback.format_exception(error)).rstrip())
    return text if len(text) <= _MAX_TRACEBACK else f"…{text[1 - _MAX_TRACEBACK :]}"


def escape_control(text: str) -> str:
    """Escape control characters, line breaks, half surrogates, and what changes the direction."""
    return text.translate(_ESCAPES).encode("utf-8", "backslashreplace").decode()
