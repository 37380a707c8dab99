"""Any Python function as an engine."""

from __future__ import annotations

import inspect
import os
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import replace
from inspect import Parameter
from typing import Any

from langchain_dbx_eval._internal.imports import load_object
from langchain_dbx_eval.driver.engines.base import (
    Delta,
    FinishReason,
    Generation,
    GenerationRequest,
    collect,
)
from langchain_dbx_eval.driver.engines.function_result import ResultChecks, to_delta
from langchain_dbx_eval.driver.engines.parameters import LENGTH_NAMES, PARAMETERS
from langchain_dbx_eval.driver.errors import invalid
from langchain_dbx_eval.driver.runtime.limits import MAX_IN_FLIGHT
from langchain_dbx_eval.driver.runtime.request_context import RequestContext, interruptible
from langchain_dbx_eval.driver.runtime.stop_strings import StopStringFilter
from langchain_dbx_eval.driver.runtime.token_estimate import TokenLimit
from langchain_dbx_eval.errors import ConfigurationError

__all__ = ["STANDARD_PARAMETERS", "CallableEngine"]

STANDARD_PARAMETERS = frozenset(PARAMETERS)
"""The parameters that a function with ``**kwargs`` receives: sampling and length only.

A function that passes its ``**kwargs`` to ``transformers`` would run the code that
``{"trust_remote_code": true, "custom_generate": ...}`` names, so there is no "allow everything".
"""

_EMPTY = Delta()
_KEYWORD = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
_POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD, Parameter.VAR_POSITIONAL)


class CallableEngine:
    """Serve a function ``fn(prompt, stop=None, **params) -> str``, or a generator of strings.

    A function may also return a message of OpenAI's chat API with ``tool_calls``, or a
    `Generation`, for example to count tokens; a generator may also yield `Delta`.

    The prompt is the first positional argument. If the first parameter is named ``messages``, the
    function receives the conversation instead, as a list of messages of OpenAI's chat API. A
    parameter named ``stop`` receives the stop strings of the request (a list, or None); the
    completion is truncated before the first of them in any case. The other keyword parameters are
    what a request may set; a function with ``**kwargs`` also accepts `STANDARD_PARAMETERS`.

    A function that returns an iterator of strings, such as a generator, streams.

    These parameters are applied to the result of a function that does not take them:
    ``max_tokens`` truncates the text, at an estimate of 4 bytes per token; a text that violates
    ``response_format``, or tool calls that violate ``tool_choice``, are an error 500.

    The server calls the function from several threads concurrently. Python cannot stop a call
    that exceeds the deadline of its request: it continues, and counts towards `max_concurrency`.

    Args:
        function: The function, or another callable with such parameters.
        max_concurrency: The maximum number of concurrent calls.

    Raises:
        ConfigurationError: The callable is not supported: it takes no positional argument,
            requires an argument that a request may omit, or is asynchronous.
    """

    def __init__(
        self, function: Callable[..., Any], *, max_concurrency: int = MAX_IN_FLIGHT
    ) -> None:
        self._function = function
        self.name: str = getattr(function, "__qualname__", type(function).__qualname__)
        first, *others = _parameters_of(function, self.name)
        _check_synchronous(function, self.name)
        _check_optional(others, self.name)
        self.takes_messages = first.name == "messages"
        """Whether the function receives messages instead of a prompt."""
        keywords = {other.name for other in others if other.kind in _KEYWORD}
        self._takes_stop = "stop" in keywords
        accepts_any = any(other.kind is Parameter.VAR_KEYWORD for other in others)
        named = frozenset(keywords - {"prompt", "messages", "stop"})
        self.parameters = named | STANDARD_PARAMETERS if accepts_any else named
        """The names that a request may set, in addition to ``prompt`` and ``stop``."""
        enforced = {"response_format"}
        if self.parameters.isdisjoint(LENGTH_NAMES):
            enforced.add("max_tokens")
        if "tools" in self.parameters:
            enforced |= {"tool_choice", "parallel_tool_calls"}
        self.enforced_parameters = frozenset(enforced - self.parameters)
        """The names that are applied to the result of the function."""
        self._max_concurrency = max_concurrency
        self._slots = threading.BoundedSemaphore(max_concurrency)
        # One entry per slot in use; the prompts of one request share a context.
        self._running: list[RequestContext] = []

    @classmethod
    def load(cls, target: str, *, max_concurrency: int = MAX_IN_FLIGHT) -> CallableEngine:
        """Import a function by its name, also from the current directory.

        Args:
            target: ``"package.module:function"``.
            max_concurrency: The maximum number of concurrent calls.

        Returns:
            The engine that serves the function.

        Raises:
            ConfigurationError: The name has no colon, the module or the function does not exist,
                the module raises when imported, or the object is not callable.
        """
        directory = os.getcwd()
        if directory not in sys.path:
            sys.path.insert(0, directory)
        return cls(load_object(target), max_concurrency=max_concurrency)

    def generate(self, request: GenerationRequest) -> Generation:
        """Call the function, and truncate its text before the first complete stop string.

        Args:
            request: The prompt, its stop strings, and parameters with allowed names.

        Returns:
            The completion; with token counts if the function returned them.

        Raises:
            InvalidResponseError: The function returned an object that is not supported.
            RequestError: 400, an enforced parameter cannot be checked; 500, the result violates
                it.
            RequestEndedError: The deadline passed, or the client disconnected.
        """
        return collect(self.stream(request))

    def stream(self, request: GenerationRequest) -> Iterator[Delta]:
        """Call the function, and yield its text as it arrives; see `generate`."""
        enforced = {n: v for n, v in request.params.items() if n in self.enforced_parameters}
        params = {n: v for n, v in request.params.items() if n not in enforced}
        choice = enforced.get("tool_choice", "auto")
        if choice == "none":
            params.pop("tools", None)
        elif choice != "auto" and not params.get("tools"):
            raise invalid("'tool_choice' needs 'tools': send the tools too.")
        deltas = self._deltas(replace(request, params=params), enforced.pop("max_tokens", None))
        if not enforced:
            yield from deltas
            return
        checks, parts = ResultChecks(enforced), []
        with closing(deltas):
            for delta in deltas:
                parts.append(delta)
                if delta.finish_reason:
                    checks.check(collect(parts))
                if not checks.buffers or delta == _EMPTY:
                    yield delta
        if checks.buffers:
            text = "".join(part.text for part in parts)
            calls = tuple(call for part in parts for call in part.tool_calls)
            yield replace(parts[-1], text=text, tool_calls=calls)

    def _deltas(
        self, request: GenerationRequest, max_tokens: int | None
    ) -> Generator[Delta, None, None]:
        """Call the function, and yield its result until it ends or reaches a limit."""
        stops, limit = StopStringFilter(request.stop), TokenLimit(max_tokens)
        last, calls = Delta(), 0
        with closing(interruptible(lambda: self._call(request), request.context)) as deltas:
            for delta in deltas:
                if delta is None:
                    yield Delta()
                    continue
                last = delta
                text = limit.feed(stops.feed(delta.text))
                yield Delta(text, tool_calls=delta.tool_calls, logprobs=delta.logprobs)
                calls += len(delta.tool_calls)
                if stops.stopped or limit.exceeded:
                    break
        text = limit.feed(stops.finish())
        reason: FinishReason = "length" if limit.exceeded else "tool_calls" if calls else "stop"
        if not (stops.stopped or limit.exceeded):
            reason = last.finish_reason or reason
        yield Delta(text, reason, last.prompt_tokens, last.completion_tokens)

    def start(self) -> None:
        """Do nothing: a function needs no preparation."""

    def close(self) -> None:
        """Do nothing: Python cannot stop a running function."""

    def health(self) -> str | None:
        """Return an error if calls of ended requests occupy all slots."""
        abandoned = sum(context.ended for context in list(self._running))
        if abandoned < self._max_concurrency:
            return None
        return f"All {abandoned} slots are in use by calls that outlived their requests."

    def __repr__(self) -> str:
        return f"CallableEngine({self.name})"

    def _call(self, request: GenerationRequest) -> Iterator[Delta]:
        while not self._slots.acquire(timeout=request.context.poll_timeout()):
            request.context.check()
        self._running.append(request.context)
        try:
            keywords: dict[str, Any] = dict(request.params)
            if self._takes_stop:
                keywords["stop"] = list(request.stop) or None
            argument: object = request.prompt
            if self.takes_messages:
                prompt_message = {"role": "user", "content": request.prompt}
                argument = [dict(message) for message in request.messages or (prompt_message,)]
            result: object = self._function(argument, **keywords)
            calls = 0
            for part in result if isinstance(result, Iterator) else (result,):
                delta = to_delta(part, self.name, calls)
                calls += len(delta.tool_calls)
                yield delta
        finally:
            self._running.remove(request.context)
            self._slots.release()


def _parameters_of(function: Callable[..., Any], name: str) -> list[Parameter]:
    if not callable(function):
        msg = f"{function!r} is not callable: pass a function fn(prompt, stop=None) -> str."
        raise ConfigurationError(msg)
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:
        msg = f"The signature of {name} is unknown: wrap it in fn(prompt, stop=None) -> str."
        raise ConfigurationError(msg) from error
    if not parameters or parameters[0].kind not in _POSITIONAL:
        msg = f"{name} takes no positional argument: its first parameter must be the prompt."
        raise ConfigurationError(msg)
    return parameters


def _check_synchronous(function: Callable[..., Any], name: str) -> None:
    for part in (function, getattr(function, "__call__", None)):  # noqa: B004 - the method
        if inspect.iscoroutinefunction(part) or inspect.isasyncgenfunction(part):
            msg = (
                f"{name} is asynchronous, but the server calls it from many threads: pass a "
                "function, for example one that calls asyncio.run()."
            )
            raise ConfigurationError(msg)


def _check_optional(parameters: list[Parameter], name: str) -> None:
    for parameter in parameters:
        variadic = parameter.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
        passed = variadic or (parameter.name == "stop" and parameter.kind in _KEYWORD)
        if parameter.default is Parameter.empty and not passed:
            msg = (
                f"{name} requires {parameter.name!r}, which a request may omit: "
                "give that parameter a default."
            )
            raise ConfigurationError(msg)
