"""A streamed response from bytes to chunks, for any format."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from langchain_dbx_eval._internal import json_text
from langchain_dbx_eval._internal.sse import EventDecoder, looks_like_events
from langchain_dbx_eval.errors import StreamInterruptedError
from langchain_dbx_eval.wire.validate import wrong_shape

__all__ = ["EventReader", "StreamReader"]

Chunk = TypeVar("Chunk")

_DONE = "[DONE]"
_PREFIX_BYTES = 8  # of the longest field name of an event


class EventReader(ABC, Generic[Chunk]):
    """Decoder of the events of one streamed response; each format is a subclass.

    Attributes:
        started: Whether a part of the answer was decoded.
        finished: Whether the model reported its end, or the server sent ``[DONE]``.
    """

    def __init__(self) -> None:
        self.started = False
        self.finished = False
        self._texts: list[str] = []

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._texts)

    @abstractmethod
    def _decode(self, data: str) -> Chunk | None:
        """Decode an event other than ``[DONE]``; see `feed`."""

    @abstractmethod
    def _last_chunk(self) -> Chunk | None:
        """Return what is known at the end only, such as the usage."""

    def feed(self, data: str) -> Chunk | None:
        """Decode one event.

        Args:
            data: The event's payload: JSON, or ``[DONE]``.

        Returns:
            The chunk that the event adds to the answer; None if it adds nothing.

        Raises:
            StreamInterruptedError: The event reports an error; `partial_text` has the text so far.
            InvalidResponseError: The event is not one of this format.
        """
        if data == _DONE:
            self.finished = True
            return None
        return self._decode(data)

    def finish(self) -> Chunk | None:
        """End the stream.

        Returns:
            The last chunk, with usage and metadata; None if there is nothing to add.

        Raises:
            StreamInterruptedError: The stream ended without a finish reason or ``[DONE]``.
        """
        if not self.finished:
            raise self.interrupted("it ended before the model had finished")
        return self._last_chunk()

    def interrupted(self, reason: str) -> StreamInterruptedError:
        """Return the error for a stream that was cut off, with the text so far."""
        msg = f"The stream was cut off: {reason}."
        return StreamInterruptedError(msg, partial_text=self.text)

    def failed(self, reason: str) -> StreamInterruptedError:
        """Return the error for an event that reports an error, with the text so far."""
        msg = f"The model failed in the middle of its answer: {reason}"
        return StreamInterruptedError(msg, partial_text=self.text)


@dataclass
class StreamReader(Generic[Chunk]):
    """Decoder of a streamed body, or of a complete one if the server does not stream.

    Attributes:
        events: Decodes the events.
        decode: Decodes the JSON of a complete response.
        recognize: Returns the reader of another format if the first event has it.
    """

    events: EventReader[Chunk]
    decode: Callable[[Any], Chunk]
    recognize: Callable[[str], EventReader[Chunk] | None] | None = None
    _splitter: EventDecoder = field(default_factory=EventDecoder, init=False)
    _beginning: bytearray | None = field(default_factory=bytearray, init=False)

    def feed(self, piece: bytes) -> list[Chunk]:
        """Return the chunks that a piece of the body completes.

        Raises:
            StreamInterruptedError: An event reports an error.
            InvalidResponseError: An event is not one of the format.
        """
        if self._beginning is not None:
            self._beginning += piece if self._beginning else piece.lstrip()
            if not looks_like_events(bytes(self._beginning[:_PREFIX_BYTES])):
                return []
            piece, self._beginning = bytes(self._beginning), None
        return self._read(self._splitter.feed(piece))

    def finish(self) -> list[Chunk]:
        """Return the chunks that the end of the body completes.

        Raises:
            StreamInterruptedError: The answer is incomplete.
            InvalidResponseError: The body is neither events nor JSON, or of another shape.
        """
        if self._beginning:
            try:
                payload = json_text.loads(bytes(self._beginning))
            except (ValueError, RecursionError):
                text = self._beginning.decode("utf-8", "replace")
                raise wrong_shape("events or JSON", text) from None
            return [self.decode(payload)]
        chunks = self._read(self._splitter.finish())
        last = self.events.finish()
        return [*chunks, last] if last is not None else chunks

    def interrupted(self, error: Exception) -> StreamInterruptedError | None:
        """Return the error for a lost connection; None if no part of the answer was decoded."""
        return self.events.interrupted(str(error)) if self.events.started else None

    def _read(self, events: list[str]) -> list[Chunk]:
        chunks = []
        for event in events:
            if self.recognize is not None and not self.events.started:
                self.events = self.recognize(event) or self.events
            if (chunk := self.events.feed(event)) is not None:
                chunks.append(chunk)
        return chunks
