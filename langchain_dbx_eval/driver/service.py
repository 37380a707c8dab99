"""Execution of a parsed request: admission, deadline, engine, metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
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
from langchain_dbx_eval.driver.errors import RequestError
from langchain_dbx_eval.driver.protocol.formats import request_formats
from langchain_dbx_eval.driver.protocol.requests import (
    Capabilities,
    ParsedEmbedding,
    ParsedGeneration,
    ParsedRequest,
)
from langchain_dbx_eval.driver.protocol.responses import (
    StreamEncoder,
    encode_embeddings,
    encode_generations,
)
from langchain_dbx_eval.driver.runtime.admission import Admission, Slot
from langchain_dbx_eval.driver.runtime.limits import Limits
from langchain_dbx_eval.driver.runtime.metrics import Metrics
from langchain_dbx_eval.driver.runtime.request_context import (
    DeadlineExceededError,
    RequestContext,
    RequestEndedError,
    interruptible,
)

__all__ = ["DriverService"]

_EMPTY = Delta()


class DriverService:
    """An engine, and the limits under which it is used.

    Args:
        engine: An `Engine`, an `Embedder` or both.
        limits: The limits of the server.
    """

    def __init__(self, engine: Engine | Embedder, limits: Limits) -> None:
        self._generator = engine if isinstance(engine, Engine) else None
        self._embedder = engine if isinstance(engine, Embedder) else None
        self._batcher = engine if isinstance(engine, BatchEngine) else None
        self._streamer = engine if isinstance(engine, StreamingEngine) else None
        self._lifecycle = engine if isinstance(engine, EngineLifecycle) else None
        self._limits = limits
        self._prompt_threads = self._new_prompt_threads()
        self.admission = Admission(limits.max_in_flight)
        self.metrics = Metrics(lambda: self.admission.in_flight)
        self.model_name: str = getattr(engine, "name", type(engine).__name__)
        self.capabilities = Capabilities(
            parameters=self._generator.parameters if self._generator else frozenset(),
            messages=isinstance(engine, ChatEngine) and engine.takes_messages,
            generates=self._generator is not None,
            embeds=self._embedder is not None,
        )
        self.formats = request_formats(self.capabilities)

    def start(self) -> None:
        """Start the engine, and admit requests."""
        if self._lifecycle:
            self._lifecycle.start()
        self.admission.open()

    def close(self) -> None:
        """Stop the engine and the threads."""
        if self._lifecycle:
            self._lifecycle.close()
        self._prompt_threads.shutdown(wait=False, cancel_futures=True)
        self._prompt_threads = self._new_prompt_threads()

    def health(self) -> str | None:
        """Return why the engine cannot answer now; None if it can."""
        if self.admission.draining:
            return "The server is stopping."
        return self._lifecycle.health() if self._lifecycle else None

    def answer(self, request: ParsedRequest, client_disconnected: Callable[[], bool]) -> Any:
        """Execute a request that is not streamed.

        Args:
            request: The parsed request.
            client_disconnected: Returns whether the client closed its connection.

        Returns:
            The JSON value of the response.

        Raises:
            RequestError: 429, 503 or 504, or the engine rejected the request.
            ClientDisconnectedError: The client closed its connection.
        """
        slot = self.admission.acquire()
        try:
            context = RequestContext(self._limits.request_timeout, client_disconnected)
            with self._deadline_as_504():
                if isinstance(request, ParsedEmbedding):
                    return self._embed(request, context)
                prompts = [replace(prompt, context=context) for prompt in request.requests]
                generations = self._generate(prompts)
            for generation in generations:
                self.metrics.count_tokens(generation.prompt_tokens, generation.completion_tokens)
            return encode_generations(request, generations, self.model_name)
        finally:
            slot.release()

    def stream(
        self,
        request: ParsedGeneration,
        client_disconnected: Callable[[], bool],
        to_request_error: Callable[[Exception], RequestError],
    ) -> Iterator[bytes]:
        """Execute a streamed request.

        This method waits for the first delta, so that an error before it has its own HTTP status.

        Args:
            request: The parsed request, with one prompt.
            client_disconnected: Returns whether the client closed its connection.
            to_request_error: Logs an exception in the middle of the stream, and returns the error
                to send.

        Returns:
            The bytes of the events. Closing the iterator ends the request.

        Raises:
            RequestError: As for `answer`.
        """
        slot = self.admission.acquire()
        try:
            context = RequestContext(
                self._limits.request_timeout, client_disconnected, self._limits.keep_alive
            )
            deltas = self._deltas(replace(request.requests[0], context=context))
            with self._deadline_as_504():
                first = next(deltas)
        except BaseException:
            slot.release()
            raise
        return _SlotIterator(self._events(request, first, deltas, to_request_error), slot)

    def _events(
        self,
        request: ParsedGeneration,
        delta: Delta,
        deltas: Iterator[Delta],
        to_request_error: Callable[[Exception], RequestError],
    ) -> Iterator[bytes]:
        encoder = StreamEncoder(request, self.model_name)
        try:
            last_sent = time.monotonic()
            yield encoder.encode(delta)
            with self._deadline_as_504():
                for delta in deltas:
                    idle = time.monotonic() - last_sent
                    if delta == _EMPTY and idle < self._limits.keep_alive:
                        continue
                    yield encoder.encode(delta)
                    last_sent = time.monotonic()
        except RequestEndedError:
            return
        except Exception as exception:
            error = to_request_error(exception)
            yield encoder.error(error.error_code, error.message)
            return
        finally:
            _close(deltas)
        self.metrics.count_tokens(delta.prompt_tokens, delta.completion_tokens)
        yield encoder.finish(delta)

    def _deltas(self, prompt: GenerationRequest) -> Iterator[Delta]:
        if self._streamer:
            yield from self._streamer.stream(prompt)
            return
        for whole in interruptible(lambda: self._generate([prompt]), prompt.context):
            if whole is None:
                yield _EMPTY
                continue
            yield Delta(whole.text, tool_calls=whole.tool_calls)
            yield Delta("", whole.finish_reason, whole.prompt_tokens, whole.completion_tokens)

    def _generate(self, prompts: Sequence[GenerationRequest]) -> list[Generation]:
        if self._batcher and len(prompts) > 1:
            return self._batcher.generate_batch(prompts)
        if self._generator is None:  # RequestFormats rejects such a request
            raise TypeError(self.model_name)
        if len(prompts) == 1:
            return [self._generator.generate(prompts[0])]
        return self._generate_in_threads(self._generator.generate, prompts)

    def _generate_in_threads(
        self,
        generate: Callable[[GenerationRequest], Generation],
        prompts: Sequence[GenerationRequest],
    ) -> list[Generation]:
        """Raise the error of the first prompt that fails; the others run until their deadline."""

        def generate_in_time(prompt: GenerationRequest) -> Generation:
            prompt.context.check()  # it may have waited for a thread
            return generate(prompt)

        futures = [self._prompt_threads.submit(generate_in_time, prompt) for prompt in prompts]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
            return [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()

    def _embed(self, request: ParsedEmbedding, context: RequestContext) -> Any:
        if self._embedder is None:  # RequestFormats rejects such a request
            raise TypeError(self.model_name)
        result = self._embedder.embed(request.texts, context)
        self.metrics.count_tokens(result.prompt_tokens, None)
        return encode_embeddings(request, result, self.model_name)

    def _new_prompt_threads(self) -> ThreadPoolExecutor:
        # For all requests with several prompts together. Threads start with the first prompt.
        return ThreadPoolExecutor(self._limits.max_in_flight, "dbx-eval-prompt")

    @contextmanager
    def _deadline_as_504(self) -> Iterator[None]:
        try:
            yield
        except DeadlineExceededError:
            message = (
                f"The result was not ready after {self._limits.request_timeout:g} s, time in the "
                "queue included: request fewer tokens, or retry later."
            )
            raise RequestError(504, "DEADLINE_EXCEEDED", message) from None


class _SlotIterator:
    """An iterator that releases a slot when it is closed, even if it was never started.

    The ``finally`` of a generator does not run if the client disconnects before the first event.
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


def _close(iterator: Iterator[Any]) -> None:
    close = getattr(iterator, "close", None)
    if close is not None:
        close()
