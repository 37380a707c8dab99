"""One answer while it grows: tokens in, safe pieces of text out. Knows no model and no torch."""

from __future__ import annotations

import queue
import time
import uuid
from collections import deque
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from langchain_dbx_eval.driver.engines.base import Delta, FinishReason, GenerationRequest
from langchain_dbx_eval.driver.runtime.stop_strings import StopCutter

if TYPE_CHECKING:
    from langchain_dbx_eval.driver.engines.transformers.sampling import RowSampler

__all__ = ["BatchLoop", "Completion", "Detokenizer"]


class BatchLoop(Protocol):
    """What generates for many completions at once, in a thread of its own."""

    def start(self) -> None:
        """Begin to work. Does nothing when it works."""
        ...

    def submit(self, completion: Completion) -> None:
        """Take a completion on; its tokens are fed to it until it is done."""
        ...

    def drop(self, completion: Completion) -> None:
        """Forget a completion that nobody waits for."""
        ...

    def stop(self) -> None:
        """Fail what is not done, and end the thread."""
        ...

    def health(self) -> str | None:
        """Why it does not work, in words for a client."""
        ...


class Detokenizer:
    """Turns the tokens of one answer into text as they come.

    Args:
        tokenizer: A fast tokenizer of transformers.
        end_tokens: The tokens by which the model ends an answer, which have no text.
    """

    def __init__(self, tokenizer: Any, end_tokens: Collection[int] = ()) -> None:
        from tokenizers.decoders import DecodeStream

        self.end_tokens = end_tokens
        self._backend = tokenizer.backend_tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)
        self._given = 0

    def feed(self, token: int) -> str:
        """The text that a token adds; nothing while a character is not whole."""
        text = self._stream.step(self._backend, token) or ""
        self._given += len(text)
        return text

    def finish(self, tokens: Sequence[int]) -> str:
        """What is left of the text of all tokens: a character that stayed broken."""
        words = [token for token in tokens if token not in self.end_tokens]
        whole: str = self._backend.decode(words, skip_special_tokens=True)
        return whole[self._given :]


class Completion:
    """One request in a batch.

    The loop's thread calls `feed`, `fail` and `hand_over`, the request's own thread `pieces`.

    Args:
        request: What is asked; its stop strings and its call are used.
        prompt: The prompt's tokens.
        limit: The most tokens of the answer, at least 1.
        detokenizer: For this answer alone.
        sampler: Chooses its tokens; ``None`` where the most probable one is taken.
    """

    def __init__(
        self,
        request: GenerationRequest,
        prompt: Sequence[int],
        limit: int,
        detokenizer: Detokenizer,
        sampler: RowSampler | None = None,
    ) -> None:
        self.id = uuid.uuid4().hex
        self.prompt = list(prompt)
        self.limit = limit
        self.sampler = sampler
        self.tokens: list[int] = []
        self.done = False
        self.whole = False
        """Whether it is handed over at its end only."""
        self._texts: deque[str] = deque()
        self._end: Delta | Exception | None = None
        self._call = request.call
        self._detokenizer = detokenizer
        self._cutter = StopCutter(request.stop)
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()

    @property
    def has_news(self) -> bool:
        """Whether there is something to hand over."""
        return self.done or (bool(self._texts) and not self.whole)

    def feed(self, token: int) -> bool:
        """Take the next token.

        Returns:
            Whether the answer is done.
        """
        if not self.done:
            self.tokens.append(token)
            try:
                self._take(token)
            except Exception as error:
                # In the loop's thread it would end the answers of all others.
                self.fail(error)
        return self.done

    def fail(self, error: Exception) -> None:
        """End the answer with an error."""
        if not self.done:
            self.done = True
            self._end = error
            self.hand_over()

    def hand_over(self) -> None:
        """Wake the request's thread, which takes all that has come."""
        self._bell.put(None)

    def pieces(self, drop: Callable[[Completion], None]) -> Generator[Delta, None, None]:
        """What to hand on, as it comes.

        Args:
            drop: Called when nobody waits any more and the answer is not done.

        Raises:
            CallEndedError: The answer is not wanted any more.
            Exception: What `fail` was given.
        """
        heard = time.monotonic()
        try:
            while True:
                with suppress(queue.Empty):
                    self._bell.get(timeout=self._call.pause())
                end = self._end  # read before the texts, which are all there when it is
                text = self._taken()
                if isinstance(end, Delta):
                    yield replace(end, text=text)
                    return
                if text or time.monotonic() - heard >= self._call.keep_alive:
                    heard = time.monotonic()
                    yield Delta(text)
                if end is not None:
                    raise end
                self._call.check()
        finally:
            if not self.done:
                self.done = True
                drop(self)

    def _taken(self) -> str:
        taken: list[str] = []
        with suppress(IndexError):
            while True:
                taken.append(self._texts.popleft())
        return "".join(taken)

    def _take(self, token: int) -> None:
        if token in self._detokenizer.end_tokens:
            self._finish("stop")
            return
        self._release(self._detokenizer.feed(token))
        if self._cutter.stopped:
            self._finish("stop")
        elif len(self.tokens) >= self.limit:
            self._finish("length")

    def _release(self, text: str) -> None:
        if released := self._cutter.feed(text):
            self._texts.append(released)

    def _finish(self, reason: FinishReason) -> None:
        if not self._cutter.stopped:
            self._release(self._detokenizer.finish(self.tokens))
        if self._cutter.stopped:
            reason = "stop"
        self._texts.append(self._cutter.finish())
        self.done = True
        self._end = Delta("", reason, len(self.prompt), len(self.tokens))
