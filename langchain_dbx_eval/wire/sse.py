"""Server-sent events: from bytes to the payload of each event.

Protocol: WHATWG HTML, section 9.2 "Server-sent events", as far as model servers use it.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable

__all__ = ["EventDecoder", "looks_like_events"]


class EventDecoder:
    """Splits a byte stream into events."""

    def __init__(self) -> None:
        self._text = codecs.getincrementaldecoder("utf-8")("replace")
        self._unfinished_line = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> list[str]:
        """Return the ``data`` of each event that a chunk completes.

        Args:
            chunk: Bytes, split anywhere, even inside a character.
        """
        lines = (self._unfinished_line + self._text.decode(chunk)).split("\n")
        self._unfinished_line = lines.pop()
        return self._events_of(line.rstrip("\r") for line in lines)

    def finish(self) -> list[str]:
        """Return the events that the end completes: some servers omit the last blank line."""
        return self._events_of((self._unfinished_line, ""))

    def _events_of(self, lines: Iterable[str]) -> list[str]:
        events = []
        for line in lines:
            name, _, value = line.partition(":")
            if not line and self._data:
                events.append("\n".join(self._data))
                self._data = []
            # Comments (an empty name), ids and event names have no content for model servers.
            elif name == "data":
                self._data.append(value.removeprefix(" "))
        return events


def looks_like_events(body: bytes) -> bool:
    """Whether a body begins as server-sent events do; JSON begins with a quote or a bracket."""
    return body.lstrip()[:6].startswith((b"data:", b"event:", b":", b"id:", b"retry:"))
