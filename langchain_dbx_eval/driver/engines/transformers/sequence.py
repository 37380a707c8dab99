"""One request in a batch: tokens in, text out. Does not import torch."""

from __future__ import annotations

import queue
import time
import uuid
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from langchain_dbx_eval.driver.engines.base import Delta, FinishReason, GenerationRequest
from langchain_dbx_eval.driver.runtime.stop_strings import StopStringFilter
from langchain_dbx_eval.errors import DriverServerError

if TYPE_CHECKING:
    from langchain_dbx_eval.driver.engines.transformers.sampling import RowSampler
    from langchain_dbx_eval.driver.engines.transformers.tokenization import Detokenizer

__all__ = ["TokenSequence"]


class TokenSequence:
    """The prompt tokens of one request, and the completion generated so far.

    The thread of the loop calls `feed`, `fail` and `notify`, the thread of the request `deltas`.

    Args:
        request: The request; its stop strings and its context are used.
        prompt: The tokens of the prompt.
        max_new_tokens: The maximum number of tokens of the completion, at least 1.
        detokenizer: Used for this sequence only.
        sampler: Chooses the tokens; None: the most probable ones.
    """

    def __init__(
        self,
        request: GenerationRequest,
        prompt: Sequence[int],
        max_new_tokens: int,
        detokenizer: Detokenizer,
        sampler: RowSampler | None = None,
    ) -> None:
        self.id = uuid.uuid4().hex
        self.prompt = list(prompt)
        self.max_new_tokens = max_new_tokens
        self.sampler = sampler
        self.tokens: list[int] = []
        self.done = False
        self.deliver_at_end = False
        """Whether the text is delivered as a whole: the request is not streamed."""
        self._texts: deque[str] = deque()
        self._result: Delta | Exception | None = None
        self._context = request.context
        self._detokenizer = detokenizer
        self._stops = StopStringFilter(request.stop)
        self._wakeups: queue.SimpleQueue[None] = queue.SimpleQueue()

    @property
    def has_output(self) -> bool:
        """Whether the thread of the request has something to read."""
        return self.done or (bool(self._texts) and not self.deliver_at_end)

    def feed(self, token: int) -> None:
        """Add the next token. Has no effect on a sequence that is done."""
        if self.done:
            return
        self.tokens.append(token)
        try:
            if token in self._detokenizer.end_tokens:
                self._finish("stop")
                return
            self._append_text(self._detokenizer.feed(token))
            if self._stops.stopped:
                self._finish("stop")
            elif len(self.tokens) >= self.max_new_tokens:
                self._finish("length")
        except Exception as error:
            # Raised in the loop's thread, it would end all other sequences.
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """End the sequence with an error. Has no effect on a sequence that is done."""
        if not self.done:
            self.done = True
            self._result = error
            self.notify()

    def abort(self) -> None:
        """End the sequence because its loop ends. Has no effect on a sequence that is done."""
        message = "The model's worker stopped before the completion was finished."
        self.fail(DriverServerError(message))

    def notify(self) -> None:
        """Wake the thread of the request, which reads all output so far."""
        self._wakeups.put(None)

    def deltas(self, drop: Callable[[TokenSequence], None]) -> Generator[Delta, None, None]:
        """Yield the completion as it is generated, and empty deltas as keep-alives.

        Args:
            drop: Called if the iteration ends before the sequence is done.

        Raises:
            RequestEndedError: The deadline passed, or the client disconnected.
            Exception: The error passed to `fail`.
        """
        last_output = time.monotonic()
        try:
            while True:
                with suppress(queue.Empty):
                    self._wakeups.get(timeout=self._context.poll_timeout())
                result = self._result  # read before the texts: once it is set, they are complete
                text = "".join(self._texts.popleft() for _ in range(len(self._texts)))
                if isinstance(result, Delta):
                    yield replace(result, text=text)
                    return
                if text or time.monotonic() - last_output >= self._context.keep_alive:
                    last_output = time.monotonic()
                    yield Delta(text)
                if result is not None:
                    raise result
                self._context.check()
        finally:
            if not self.done:
                self.done = True
                drop(self)

    def _append_text(self, text: str) -> None:
        if text := self._stops.feed(text):
            self._texts.append(text)

    def _finish(self, reason: FinishReason) -> None:
        if not self._stops.stopped:
            self._append_text(self._detokenizer.finish(self.tokens))
        if self._stops.stopped:
            reason = "stop"
        self._texts.append(self._stops.finish())
        self.done = True
        self._result = Delta("", reason, len(self.prompt), len(self.tokens))
