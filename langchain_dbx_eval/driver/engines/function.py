"""Any Python function as an engine."""

from __future__ import annotations

import importlib
import inspect
import operator
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from inspect import Parameter
from types import ModuleType
from typing import Any

from langchain_dbx_eval.driver.engines.base import Delta, Generation, GenerationRequest
from langchain_dbx_eval.driver.engines.parameters import PARAMETERS
from langchain_dbx_eval.driver.runtime.admission import MAX_IN_FLIGHT
from langchain_dbx_eval.driver.runtime.cancellation import watch
from langchain_dbx_eval.driver.runtime.request_context import RequestContext
from langchain_dbx_eval.driver.runtime.stop_strings import StopCutter
from langchain_dbx_eval.errors import ConfigurationError, InvalidResponseError

__all__ = ["STANDARD_PARAMETERS", "CallableEngine"]

STANDARD_PARAMETERS = frozenset(PARAMETERS)
"""What a function with ``**kwargs`` is passed: sampling, and nothing that could load code.

A function that hands its ``**kwargs`` to ``transformers`` would run whatever
``{"trust_remote_code": true, "custom_generate": ...}`` names, so "everything" is never allowed.
"""

_KEYWORD = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
_POSITIONAL = (
    Parameter.POSITIONAL_ONLY,
    Parameter.POSITIONAL_OR_KEYWORD,
    Parameter.VAR_POSITIONAL,
)


class CallableEngine:
    """Serves a function ``fn(prompt, stop=None, **params) -> str``, or one that yields pieces.

    The prompt is the first positional argument, whatever its name; a function whose first
    parameter is called ``messages`` is given the conversation instead, as OpenAI's chat API has
    it. A parameter called ``stop`` is given the request's stop strings (a list, or ``None``); with
    or without it the completion is cut before the first of them. The other keyword parameters are
    what a request may set; a function with ``**kwargs`` takes `STANDARD_PARAMETERS` besides.

    A function that returns an iterator of strings, such as a generator, streams.

    The server calls the function from several threads at once. One that outlives its request's
    deadline goes on, as Python cannot stop it, and keeps its place among `max_concurrency`.

    Args:
        function: The function, or any other callable of that shape.
        max_concurrency: The most calls at once.

    Raises:
        ConfigurationError: The callable has another shape: it takes no positional argument,
            needs an argument that a request may leave out, or is asynchronous.
    """

    def __init__(
        self, function: Callable[..., Any], *, max_concurrency: int = MAX_IN_FLIGHT
    ) -> None:
        self._function = function
        self.name: str = getattr(function, "__qualname__", type(function).__qualname__)
        first, *others = _parameters_of(function, self.name)
        self._refuse_async(function)
        self._refuse_more_required(others)
        self._takes_messages = first.name == "messages"
        keywords = {other.name for other in others if other.kind in _KEYWORD}
        self._takes_stop = "stop" in keywords
        takes_any = any(other.kind is Parameter.VAR_KEYWORD for other in others)
        named = frozenset(keywords - {"prompt", "messages", "stop"})
        self._parameters = named | STANDARD_PARAMETERS if takes_any else named
        self._most = max_concurrency
        self._places = threading.BoundedSemaphore(max_concurrency)
        self._calls: list[RequestContext] = []  # one a place: the prompts of a request share theirs

    @classmethod
    def load(cls, target: str, *, max_concurrency: int = MAX_IN_FLIGHT) -> CallableEngine:
        """Import a function by its name; the current directory counts, as for ``python -m``.

        Args:
            target: ``"package.module:function"``.
            max_concurrency: The most calls at once.

        Returns:
            The engine that serves it.

        Raises:
            ConfigurationError: The name has no colon, the module or the function is not there,
                the module fails when imported, or what is named cannot be called.
        """
        module_name, colon, attribute = target.partition(":")
        if not (module_name and colon and attribute):
            msg = f"{target!r} does not name a function: write it as 'package.module:function'."
            raise ConfigurationError(msg)
        module = _import(module_name)
        try:
            function = operator.attrgetter(attribute)(module)
        except AttributeError as error:
            msg = f"{module!r} has no {attribute!r}."
            raise ConfigurationError(msg) from error
        return cls(function, max_concurrency=max_concurrency)

    @property
    def parameters(self) -> frozenset[str]:
        """The names that a request may set, beside ``prompt`` and ``stop``."""
        return self._parameters

    @property
    def takes_messages(self) -> bool:
        """Whether the function is given conversations rather than prompts."""
        return self._takes_messages

    def generate(self, request: GenerationRequest) -> Generation:
        """Call the function, and cut what it returns before the first completed stop string.

        Args:
            request: The prompt, its stop strings, and parameters of allowed names.

        Returns:
            The completion; a function counts no tokens, so neither is any counted here.

        Raises:
            InvalidResponseError: The function returned something else than text.
        """
        return Generation("".join(piece.text for piece in self.stream(request)))

    def stream(self, request: GenerationRequest) -> Iterator[Delta]:
        """Call the function, and hand on what it yields as it comes; see `generate`."""
        cutter = StopCutter(request.stop)
        with closing(watch(lambda: self._texts(request), request.call)) as texts:
            for text in texts:
                yield Delta(cutter.feed(text or ""))
                if cutter.stopped:
                    break
        yield Delta(cutter.finish(), "stop")

    def start(self) -> None:
        """Nothing runs here."""

    def close(self) -> None:
        """Nothing runs here: Python cannot stop a function."""

    def health(self) -> str | None:
        """Whether all places are held by calls that nobody waits for any more."""
        held = sum(call.ended for call in list(self._calls))
        if held < self._most:
            return None
        return f"All {held} places are held by calls that outlived their requests."

    def __repr__(self) -> str:
        return f"CallableEngine({self.name})"

    def _texts(self, request: GenerationRequest) -> Iterator[str]:
        while not self._places.acquire(timeout=request.call.pause()):
            request.call.check()
        self._calls.append(request.call)
        try:
            answer = self._called(request)
            for text in (answer,) if isinstance(answer, str) else answer:
                if not isinstance(text, str):
                    raise self._no_text(text)
                yield text
        finally:
            self._calls.remove(request.call)
            self._places.release()

    def _called(self, request: GenerationRequest) -> str | Iterator[object]:
        keywords: dict[str, Any] = dict(request.params)
        if self._takes_stop:
            keywords["stop"] = list(request.stop) or None
        answer: object = self._function(self._first_argument(request), **keywords)
        if not isinstance(answer, str | Iterator):
            raise self._no_text(answer)
        return answer

    def _first_argument(self, request: GenerationRequest) -> object:
        if not self._takes_messages:
            return request.prompt
        asked = {"role": "user", "content": request.prompt}
        return [dict(message) for message in request.messages or (asked,)]

    def _no_text(self, value: object) -> InvalidResponseError:
        msg = f"{self.name} returned {type(value).__name__}, not str: return the completion."
        return InvalidResponseError(msg)

    def _refuse_async(self, function: Callable[..., Any]) -> None:
        for part in (function, getattr(function, "__call__", None)):  # noqa: B004 - its method
            if inspect.iscoroutinefunction(part) or inspect.isasyncgenfunction(part):
                msg = (
                    f"{self.name} is asynchronous, and is called from many threads here: pass a "
                    "function, such as one that hands its prompt to asyncio.run()."
                )
                raise ConfigurationError(msg)

    def _refuse_more_required(self, others: list[Parameter]) -> None:
        for other in others:
            variadic = other.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
            given = variadic or (other.name == "stop" and other.kind in _KEYWORD)
            if other.default is Parameter.empty and not given:
                msg = (
                    f"{self.name} needs {other.name!r}, which a request may leave out: "
                    "give that parameter a default."
                )
                raise ConfigurationError(msg)


def _parameters_of(function: Callable[..., Any], name: str) -> list[Parameter]:
    if not callable(function):
        msg = f"{function!r} cannot be called: pass a function fn(prompt, stop=None) -> str."
        raise ConfigurationError(msg)
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:
        msg = f"{name} does not tell its parameters: wrap it in fn(prompt, stop=None) -> str."
        raise ConfigurationError(msg) from error
    if not parameters or parameters[0].kind not in _POSITIONAL:
        msg = f"{name} takes no positional argument: its first one is to be the prompt."
        raise ConfigurationError(msg)
    return parameters


def _import(name: str) -> ModuleType:
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            msg = f"Module {name!r} could not be imported: it needs {error.name!r}. Install that."
            raise ConfigurationError(msg) from error
        msg = f"There is no module {name!r}: looked in {here} and in the installed packages."
        raise ConfigurationError(msg) from error
    except Exception as error:
        msg = f"Module {name!r} failed when it was imported: {type(error).__name__}: {error}"
        raise ConfigurationError(msg) from error
