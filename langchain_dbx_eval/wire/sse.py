"""Server-sent events: bytes in, the payload of each event out.

Protocol: WHATWG HTML, section 9.2 "Server-sent events", as far as model servers use it.
"""

from __future__ import annotations

import codecs

__all__ = ["EventDecoder", "looks_like_events"]


class EventDecoder:
    """Cuts a byte stream into events, whatever the pieces that it arrives in."""

    def __init__(self) -> None:
        self._text = codecs.getincrementaldecoder("utf-8")("replace")
        self._unfinished_line = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> list[str]:
        """Take the next piece.

        Args:
            chunk: Bytes, cut anywhere, even inside a character.

        Returns:
            The ``data`` of each event that this piece completes.
        """
        lines = (self._unfinished_line + self._text.decode(chunk)).split("\n")
        self._unfinished_line = lines.pop()
        return [data for line in lines if (data := self._take(line.rstrip("\r"))) is not None]

    def finish(self) -> list[str]:
        """The events that the stream's end completes: some servers omit the last blank line."""
        return [
            data for line in (self._unfinished_line, "") if (data := self._take(line)) is not None
        ]

    def _take(self, line: str) -> str | None:
        if not line:
            data, self._data = self._data, []
            return "\n".join(data) if data else None
        name, _, value = line.partition(":")
        # Comments (an empty name), ids and event names carry nothing that model servers rely on.
        if name == "data":
            self._data.append(value.removeprefix(" "))
        return None


def looks_like_events(body: bytes) -> bool:
    """Whether a body begins as server-sent events do; JSON begins with a quote or a bracket."""
    return body.lstrip()[:6].startswith((b"data:", b"event:", b":", b"id:", b"retry:"))
