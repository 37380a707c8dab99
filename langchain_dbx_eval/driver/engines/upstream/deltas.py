"""The events of a stream as parts of a completion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from langchain_dbx_eval.driver.engines.base import Delta, FinishReason
from langchain_dbx_eval.driver.engines.upstream.errors import failed
from langchain_dbx_eval.driver.runtime.stop_strings import StopStringFilter

__all__ = ["DeltaDecoder"]

_FINISH_REASONS: Mapping[str, FinishReason] = {reason: reason for reason in get_args(FinishReason)}


class DeltaDecoder:
    """Decode the events of one stream, and truncate the text at stop strings."""

    def __init__(self, stops: Sequence[str]) -> None:
        self.stops = StopStringFilter(stops)
        self._finish_reason: FinishReason | None = None
        self._usage: Mapping[str, Any] = {}

    def feed(self, event: Mapping[str, Any]) -> Delta:
        """Decode an event; its delta is empty if the event has no content, only reasoning."""
        if event.get("error"):
            raise failed("returned an error in the stream")
        self._usage = event.get("usage") or self._usage
        try:
            choices = event.get("choices") or []
            if not choices:
                return Delta()
            content = choices[0].get("delta") or choices[0]
            text = self.stops.feed(content.get("content") or content.get("text") or "")
            tool_calls = tuple(content.get("tool_calls") or ())
            logprobs = choices[0].get("logprobs") or None
            finish_reason = choices[0].get("finish_reason")
        except (AttributeError, KeyError, TypeError):
            raise failed("sent an invalid event") from None
        if finish_reason:
            self._finish_reason = _FINISH_REASONS.get(finish_reason, "stop")
        return Delta(text, tool_calls=tool_calls, logprobs=logprobs)

    def finish(self) -> Delta:
        """Return the last delta.

        Raises:
            RequestError: 502; the stream ended without a finish reason.
        """
        finish_reason = "stop" if self.stops.stopped else self._finish_reason
        if finish_reason is None:
            raise failed("ended the stream without a finish reason")
        # What a driver server estimated is no count: this server estimates it too, and says so.
        counts = {} if self._usage.get("estimated") else self._usage
        return Delta(
            self.stops.finish(),
            finish_reason,
            counts.get("prompt_tokens"),
            counts.get("completion_tokens"),
        )
