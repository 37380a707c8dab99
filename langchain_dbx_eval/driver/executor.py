"""Execution of a parsed request on an engine: admission, deadline, metrics, response."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import closing
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
from langchain_dbx_eval.driver.errors import to_request_error
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
from langchain_dbx_eval.driver.protocol.responses_api_output import (
    ResponseStreamEncoder,
    encode_response,
)
from langchain_dbx_eval.driver.runtime.admission import Admission
from langchain_dbx_eval.driver.runtime.limits import Limits
from langchain_dbx_eval.driver.runtime.metrics import Metrics
from langchain_dbx_eval.driver.runtime.request_context import (
    ClientDisconnectedError,
    RequestContext,
    interruptible,
)

__all__ = ["RequestExecutor"]

_EMPTY = Delta()


class RequestExecutor:
    """Execute requests on an engine, within limits.

    Args:
        engine: An `Engine`, an `Embedder` or both.
        limits: The limits of the server.
        strict: Whether to reject parameters that the engine does not take even if they have no
            effect, or if the engine applies them to the result.
    """

    def __init__(self, engine: Engine | Embedder, limits: Limits, *, strict: bool = False) -> None:
        self._engine: Any = engine  # the formats reject requests that it does not support
        self._streams = isinstance(engine, StreamingEngine)
        self._batches = isinstance(engine, BatchEngine)
        self._lifecycle = engine if isinstance(engine, EngineLifecycle) else None
        self._limits = limits
        self._prompt_threads = self._new_prompt_threads()
        self.admission = Admission(limits.max_in_flight)
        self.metrics = Metrics(lambda: self.admission.in_flight)
        self.model_name: str = getattr(engine, "name", type(engine).__name__)
        self.capabilities = Capabilities(
            parameters=_parameters(engine, strict),
            messages=isinstance(engine, ChatEngine) and engine.takes_messages,
            generates=isinstance(engine, Engine),
            embeds=isinstance(engine, Embedder),
            dimensions=getattr(engine, "takes_dimensions", False),
            strict=strict,
        )
        self.formats = request_formats(self.capabilities)

    def start(self) -> None:
        """Start the engine, and admit requests."""
        if self._lifecycle:
            self._lifecycle.start()
        self.admission.draining = False

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
            RequestError: 429, 503 or 504, the client closed its connection, or the engine rejected
                the request.
        """
        with self.admission:
            context = RequestContext(self._limits.request_timeout, client_disconnected)
            if isinstance(request, ParsedEmbedding):
                size = {} if request.dimensions is None else {"dimensions": request.dimensions}
                result = self._engine.embed(request.texts, context, **size)
                self.metrics.count_tokens(result.prompt_tokens, None)
                return encode_embeddings(request, result, self.model_name)
            prompts = [replace(prompt, context=context) for prompt in request.requests]
            generations = self._generate(prompts)
            for generation in generations:
                self.metrics.count_tokens(generation.prompt_tokens, generation.completion_tokens)
            if request.response_format == "responses":
                return encode_response(request, generations[0], self.model_name)
            return encode_generations(request, generations, self.model_name)

    def stream(
        self, request: ParsedGeneration, client_disconnected: Callable[[], bool], request_id: str
    ) -> Generator[bytes, None, None]:
        """Execute a streamed request.

        Args:
            request: The parsed request, with one prompt.
            client_disconnected: Returns whether the client closed its connection.
            request_id: The id under which an error in the middle of the stream is logged.

        Yields:
            The bytes of the events. Closing the iterator ends the request.

        Raises:
            RequestError: As for `answer`, before the first event only.
        """
        responses = request.response_format == "responses"
        encoder = (ResponseStreamEncoder if responses else StreamEncoder)(request, self.model_name)
        context = RequestContext(
            self._limits.request_timeout, client_disconnected, self._limits.keep_alive
        )
        deltas = self._deltas(replace(request.requests[0], context=context))
        with self.admission, closing(deltas):
            delta = next(deltas)
            last_sent = time.monotonic()
            yield encoder.encode(delta)
            try:
                for delta in deltas:
                    idle = time.monotonic() - last_sent
                    if delta == _EMPTY and idle < self._limits.keep_alive:
                        continue
                    yield encoder.encode(delta)
                    last_sent = time.monotonic()
            except ClientDisconnectedError:
                return
            except Exception as exception:
                error = to_request_error(exception, request_id)
                yield encoder.error(error)
                return
            self.metrics.count_tokens(delta.prompt_tokens, delta.completion_tokens)
            yield encoder.finish(delta)

    def _deltas(self, prompt: GenerationRequest) -> Generator[Delta, None, None]:
        if self._streams:
            yield from self._engine.stream(prompt)
            return
        for whole in interruptible(lambda: self._generate([prompt]), prompt.context):
            if whole is None:
                yield _EMPTY
                continue
            calls = [{"index": n, **call} for n, call in enumerate(whole.tool_calls)]
            yield Delta(whole.text, tool_calls=tuple(calls), logprobs=whole.logprobs)
            yield Delta("", whole.finish_reason, whole.prompt_tokens, whole.completion_tokens)

    def _generate(self, prompts: Sequence[GenerationRequest]) -> list[Generation]:
        if len(prompts) == 1:
            return [self._engine.generate(prompts[0])]
        if not self._batches:
            return self._generate_in_threads(prompts)
        generations: list[Generation] = self._engine.generate_batch(prompts)
        return generations

    def _generate_in_threads(self, prompts: Sequence[GenerationRequest]) -> list[Generation]:
        """Raise the error of the first prompt that fails; the others run until their deadline."""

        def generate(prompt: GenerationRequest) -> Generation:
            prompt.context.check()  # it may have waited for a thread
            generation: Generation = self._engine.generate(prompt)
            return generation

        futures = [self._prompt_threads.submit(generate, prompt) for prompt in prompts]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
            return [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()

    def _new_prompt_threads(self) -> ThreadPoolExecutor:
        # For all requests with several prompts together. Threads start with the first prompt.
        return ThreadPoolExecutor(self._limits.max_in_flight, "dbx-eval-prompt")


def _parameters(engine: Engine | Embedder, strict: bool) -> frozenset[str]:
    if not isinstance(engine, Engine):
        return frozenset()
    enforced: frozenset[str] = getattr(engine, "enforced_parameters", frozenset())
    return engine.parameters if strict else engine.parameters | enforced
