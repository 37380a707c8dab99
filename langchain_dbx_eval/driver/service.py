"""The work between a parsed request and its answer: admission, deadline, engine, metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from langchain_dbx_eval.driver.engines.base import (
    BatchEngine,
    ChatEngine,
    Delta,
    Embedder,
    Engine,
    EngineLifecycle,
    Generation,
    GenerationRequest,
    StreamingEngine,
)
from langchain_dbx_eval.driver.engines.prompt_threads import PromptThreads
from langchain_dbx_eval.driver.errors import RequestError
from langchain_dbx_eval.driver.protocol import responses as answers
from langchain_dbx_eval.driver.protocol.requests import (
    Capabilities,
    EmbeddingAsk,
    GenerationAsk,
    ParsedRequest,
)
from langchain_dbx_eval.driver.runtime.admission import Admission, Slot
from langchain_dbx_eval.driver.runtime.cancellation import watch
from langchain_dbx_eval.driver.runtime.limits import Limits
from langchain_dbx_eval.driver.runtime.metrics import Metrics
from langchain_dbx_eval.driver.runtime.request_context import (
    CallEndedError,
    DeadlinePassedError,
    RequestContext,
)

__all__ = ["DriverService"]

Explain = Callable[[Exception], RequestError]
_STILL_AT_WORK = Delta()


class DriverService:
    """An engine, and the rules under which it is used.

    Args:
        engine: What answers: an `Engine`, an `Embedder` or both.
        limits: What the server takes on.
    """

    def __init__(self, engine: Engine | Embedder, limits: Limits) -> None:
        self._engine = engine
        self._limits = limits
        self.admission = Admission(limits.max_in_flight)
        self._prompts = PromptThreads(limits.max_in_flight)
        self.metrics = Metrics(lambda: self.admission.in_flight)
        self.name: str = getattr(engine, "name", type(engine).__name__)
        self.takes = Capabilities(
            parameters=engine.parameters if isinstance(engine, Engine) else frozenset(),
            messages=isinstance(engine, ChatEngine) and engine.takes_messages,
            generates=isinstance(engine, Engine),
            embeds=isinstance(engine, Embedder),
        )

    def start(self) -> None:
        """Make the engine ready, and let requests in."""
        if isinstance(self._engine, EngineLifecycle):
            self._engine.start()
        self.admission.open()

    def close(self) -> None:
        """End what runs behind the engine."""
        if isinstance(self._engine, EngineLifecycle):
            self._engine.close()
        self._prompts.close()

    def health(self) -> str | None:
        """Why the engine cannot answer now; ``None`` when it can."""
        if self.admission.draining:
            return "The server is stopping."
        return self._engine.health() if isinstance(self._engine, EngineLifecycle) else None

    def answer(self, ask: ParsedRequest, client_gone: Callable[[], bool]) -> Any:
        """Do what was asked for.

        Args:
            ask: The parsed request, which asks for no stream.
            client_gone: Says whether the client closed its connection.

        Returns:
            The JSON value of the answer.

        Raises:
            RequestError: 429, 503 or 504, or what the engine refuses.
            ClientGoneError: Nobody is there to be answered.
        """
        slot = self.admission.enter()
        try:
            call = RequestContext(self._limits.request_timeout, client_gone)
            with _deadline_told(self._limits.request_timeout):
                if isinstance(ask, EmbeddingAsk):
                    return self._embed(ask, call)
                requests = [replace(request, call=call) for request in ask.requests]
                generations = self._generate(requests)
                return answers.generations(ask, generations, self.name)
        finally:
            slot.release()

    def stream(
        self, ask: GenerationAsk, client_gone: Callable[[], bool], explain: Explain
    ) -> Iterator[bytes]:
        """Do what was asked for, as a stream of events.

        The first piece is waited for here, so that what fails before it has a status of its own.

        Args:
            ask: The parsed request of one prompt.
            client_gone: Says whether the client closed its connection.
            explain: What to tell of an exception in the middle, once it is logged.

        Returns:
            The bytes of the events. The request is over when the iterator is closed.

        Raises:
            RequestError: As for `answer`.
        """
        slot = self.admission.enter()
        try:
            call = RequestContext(
                self._limits.request_timeout, client_gone, self._limits.keep_alive
            )
            pieces = self._pieces(replace(ask.requests[0], call=call))
            with _deadline_told(self._limits.request_timeout):
                first = next(pieces)
        except BaseException:
            slot.release()
            raise
        return _Events(self._events(ask, first, pieces, explain), slot)

    def _events(
        self, ask: GenerationAsk, piece: Delta, pieces: Iterator[Delta], explain: Explain
    ) -> Iterator[bytes]:
        writer = answers.StreamWriter(ask, self.name)
        told = time.monotonic()
        try:
            yield writer.write(piece)
            with _deadline_told(self._limits.request_timeout):
                for piece in pieces:
                    if (
                        piece == _STILL_AT_WORK
                        and time.monotonic() - told < self._limits.keep_alive
                    ):
                        continue
                    yield writer.write(piece)
                    told = time.monotonic()
        except CallEndedError:
            return
        except Exception as error:
            refusal = explain(error)
            yield answers.error_event(refusal.error_code, refusal.message)
            return
        finally:
            _close(pieces)
        self.metrics.count_tokens(piece.prompt_tokens, piece.completion_tokens)
        yield writer.end(piece)

    def _pieces(self, request: GenerationRequest) -> Iterator[Delta]:
        if isinstance(self._engine, StreamingEngine):
            yield from self._engine.stream(request)
            return
        whole = Generation("")
        for answer in watch(lambda: self._complete([request]), request.call):
            if answer is None:
                yield Delta()
            else:
                whole = answer
        yield Delta(whole.text, tool_calls=whole.tool_calls)
        yield Delta("", whole.finish_reason, whole.prompt_tokens, whole.completion_tokens)

    def _generate(self, requests: Sequence[GenerationRequest]) -> list[Generation]:
        generations = self._complete(requests)
        for generation in generations:
            self.metrics.count_tokens(generation.prompt_tokens, generation.completion_tokens)
        return generations

    def _complete(self, requests: Sequence[GenerationRequest]) -> list[Generation]:
        if len(requests) > 1 and isinstance(self._engine, BatchEngine):
            return self._engine.generate_batch(requests)
        if not isinstance(self._engine, Engine):  # the parsers refuse this before
            raise TypeError(self.name)
        if len(requests) == 1:
            return [self._engine.generate(requests[0])]
        return self._prompts.all(self._engine.generate, requests)

    def _embed(self, ask: EmbeddingAsk, call: RequestContext) -> Any:
        if not isinstance(self._engine, Embedder):  # the parsers refuse this before
            raise TypeError(self.name)
        vectors = self._engine.embed(ask.texts, call)
        self.metrics.count_tokens(vectors.prompt_tokens, None)
        return answers.embeddings(ask, vectors, self.name)


class _Events:
    """An iterator that gives its place back when it is closed, even one that never began.

    A generator's ``finally`` does not run for a client that left before the first event.
    """

    def __init__(self, events: Iterator[bytes], slot: Slot) -> None:
        self._events = events
        self._slot = slot

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._events)

    def close(self) -> None:
        try:
            _close(self._events)
        finally:
            self._slot.release()


@contextmanager
def _deadline_told(seconds: float) -> Iterator[None]:
    """Turn a deadline that passed into the 504 that the client is told."""
    try:
        yield
    except DeadlinePassedError:
        message = (
            f"The answer was not ready after {seconds:g} s, time in the queue included: "
            "ask for fewer tokens, or later."
        )
        raise RequestError(504, "DEADLINE_EXCEEDED", message) from None


def _close(iterator: Iterator[Any]) -> None:
    close = getattr(iterator, "close", None)
    if close is not None:
        close()
