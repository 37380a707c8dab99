"""A streamed answer, read from bytes to chunks, whatever its format."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from langchain_dbx_eval._internal import json_text
from langchain_dbx_eval._internal.sse import EventDecoder, looks_like_events
from langchain_dbx_eval.errors import StreamInterruptedError
from langchain_dbx_eval.wire.validate import wrong_shape

__all__ = ["EventReader", "StreamReader"]

Chunk = TypeVar("Chunk")
_Chunk = TypeVar("_Chunk", covariant=True)


class EventReader(Protocol[_Chunk]):
    """Reads the events of one streamed answer: a format's own part."""

    @property
    def started(self) -> bool:
        """Whether something of the answer has been read, so that the call cannot begin anew."""
        ...

    def feed(self, data: str) -> _Chunk | None:
        """What an event adds, or None where it adds nothing."""
        ...

    def finish(self) -> _Chunk | None:
        """What the end adds; raises where the answer is not complete."""
        ...

    def cut(self, reason: str) -> StreamInterruptedError:
        """The error for a stream that was lost here, with the text so far."""
        ...


class StreamReader(Generic[Chunk]):
    """Reads a streamed answer, or one that came whole because the other side does not stream.

    Args:
        events: Reads the format's events.
        whole: Reads the JSON of an answer that came whole.
        recognise: Given the first event, may return the reader of another format.
    """

    def __init__(
        self,
        events: EventReader[Chunk],
        whole: Callable[[Any], Chunk],
        recognise: Callable[[str], EventReader[Chunk] | None] = lambda _: None,
    ) -> None:
        self._reader = events
        self._whole = whole
        self._recognise = recognise
        self._decoder = EventDecoder()
        self._beginning: bytes | None = b""

    def feed(self, piece: bytes) -> list[Chunk]:
        """Take the next piece of the body; an empty one is its end.

        Returns:
            The chunks that it completes.

        Raises:
            StreamInterruptedError: The model failed, or the answer is not complete.
            InvalidResponseError: It is neither events nor JSON, or of another shape.
        """
        if not piece:
            return self._finish()
        if self._beginning is not None:
            self._beginning += piece
            if not looks_like_events(self._beginning):
                return []
            piece, self._beginning = self._beginning, None
        return self._read(self._decoder.feed(piece))

    def lost(self, error: Exception) -> Exception:
        """The error to raise for a connection that was lost."""
        return self._reader.cut(str(error)) if self._reader.started else error

    def _finish(self) -> list[Chunk]:
        if self._beginning:
            return [self._whole(_loads(self._beginning))]
        last_events = self._read(self._decoder.finish())
        last = self._reader.finish()
        return [*last_events, last] if last is not None else last_events

    def _read(self, events: list[str]) -> list[Chunk]:
        chunks = []
        for event in events:
            if not self._reader.started:
                self._reader = self._recognise(event) or self._reader
            if (chunk := self._reader.feed(event)) is not None:
                chunks.append(chunk)
        return chunks


def _loads(body: bytes) -> Any:
    try:
        return json_text.loads(body)
    except (ValueError, RecursionError):
        raise wrong_shape("events or JSON", body.decode("utf-8", "replace")) from None
