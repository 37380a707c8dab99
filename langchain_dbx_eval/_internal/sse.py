"""Decoder of server-sent events: bytes in, the payload of each event out.

Protocol: WHATWG HTML, section 9.2 "Server-sent events". Only the field ``data`` is decoded: model
servers do not rely on ``id``, ``event`` and ``retry``.
"""

from __future__ import annotations

import codecs

__all__ = ["EventDecoder", "looks_like_events"]


class EventDecoder:
    """Incremental decoder of one event stream, which may be cut into chunks at any byte."""

    def __init__(self) -> None:
        self._text = codecs.getincrementaldecoder("utf-8")("replace")
        self._unfinished_line: list[str] = []
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> list[str]:
        """Decode the next chunk.

        Args:
            chunk: Bytes, cut anywhere, even inside a character.

        Returns:
            The ``data`` of each event that this chunk completes.
        """
        first, *others = self._text.decode(chunk).split("\n")
        # Joined at the end of the line only: a long line may come in many chunks.
        self._unfinished_line.append(first)
        if not others:
            return []
        lines = ["".join(self._unfinished_line), *others]
        self._unfinished_line = [lines.pop()]
        return self._events(lines)

    def finish(self) -> list[str]:
        """Return the events that the end of the stream completes.

        Some servers omit the blank line after the last event.
        """
        return self._events(["".join(self._unfinished_line), ""])

    def _events(self, lines: list[str]) -> list[str]:
        events = []
        for line in (line.rstrip("\r") for line in lines):
            name, _, value = line.partition(":")
            if name == "data":
                self._data.append(value.removeprefix(" "))
            elif not line and self._data:
                events.append("\n".join(self._data))
                self._data = []
        return events


def looks_like_events(body: bytes) -> bool:
    """Whether a body starts like server-sent events; JSON starts with a quote or a bracket."""
    return body.lstrip()[:6].startswith((b"data:", b"event:", b":", b"id:", b"retry:"))
